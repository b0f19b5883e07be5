"""Names of the number formats that weights are computed and stored in."""

from typing import Literal

DTypeName = Literal["bfloat16", "float16", "float32"]
QuantizationName = Literal["nf4", "int8", "none"]

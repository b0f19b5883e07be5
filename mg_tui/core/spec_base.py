"""What specs share: how they are parsed, and the fields that say how a model is loaded.

The spec of a run (`mg_tui.core.spec`) has more to say about each of these and declares its own.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mg_tui.core.options import option, spec_error_from


class SpecBase(BaseModel):
    """Base of specs. Frozen; unknown fields are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str | Mapping[str, str] | None = None) -> Self:
        """A spec from loose values.

        Raises:
            SpecError: naming every bad field, its value, what would be accepted, and where it stands.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise spec_error_from(cls, error, where=where) from None


class WeightsSpec(SpecBase):
    """Which base model an adapter is put on, where, and in which dtype."""

    base_model: str | None = option(
        None, title="Base model", help="Path or name of the adapter's base model, if it has moved.", group="Model"
    )
    device: Literal["auto", "cuda", "cpu"] = option(
        "auto", title="Device", help="auto uses CUDA if available.", group="Model"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = option(
        "auto", title="Compute dtype", help="auto: as in training; float32 on a CPU.", group="Model"
    )


class LoadingSpec(WeightsSpec):
    """The same, and whether weights are loaded quantized."""

    quantization: Literal["auto", "nf4", "int8", "none"] = option(
        "auto", title="Quantization", help="auto: as in training; none on a CPU.", group="Model"
    )

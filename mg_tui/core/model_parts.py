"""The parts of a vision-language model that can be trained separately."""

from typing import Final, Literal

PartName = Literal["language", "projector", "vision"]
PARTS: Final[tuple[PartName, ...]] = ("language", "projector", "vision")

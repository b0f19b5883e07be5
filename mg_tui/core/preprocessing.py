"""How text and images become model input."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How text and images become model input: saved with a result; training, chat and serving read the same values.

    `min_pixels` and `max_pixels` bound an image's area after resizing. `settings` are those of the checkpoint's own
    image processor, by name, where they are known: a family reads sizes from them that differ between its checkpoints.
    """

    min_pixels: int
    max_pixels: int
    system_prompt: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False, repr=False)

"""How text and images become model input."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How text and images become model input: saved with a result; training, chat and serving read the same values.

    `min_pixels` and `max_pixels` bound an image's area after resizing.
    """

    min_pixels: int
    max_pixels: int
    system_prompt: str | None = None

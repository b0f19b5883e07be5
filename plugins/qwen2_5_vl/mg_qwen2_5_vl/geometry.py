"""From an image's size to its tokens: arithmetic alone, no torch."""

import math
from typing import Final

from mg_tui.families import Preprocessing
from mg_tui.families.geometry import resize_by_area

PATCH_SIZE: Final = 14  # pixels: side of a patch of the vision tower
MERGE_SIZE: Final = 2  # patches along a side that become one token


def smart_resize(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """The size, in pixels, that the processor resizes an image to: multiples of 28 within the limits.

    Raises:
        DataError: the image is more than 200 times as long as it is wide.
    """
    return resize_by_area(width, height, limits, factor=PATCH_SIZE * MERGE_SIZE, title="Qwen2.5-VL")


def token_grid(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """Rows and columns of the tokens of an image of this size, in pixels; raises as `smart_resize` does."""
    wide, high = smart_resize(width, height, limits)
    return high // (PATCH_SIZE * MERGE_SIZE), wide // (PATCH_SIZE * MERGE_SIZE)


def image_tokens(width: int, height: int, limits: Preprocessing) -> int:
    """Tokens of an image of this size, in pixels; raises as `smart_resize` does."""
    return math.prod(token_grid(width, height, limits))

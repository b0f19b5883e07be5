"""From an image's size to its tokens, and from tokens to their positions: arithmetic alone, no torch."""

import math
from typing import Final

from mg_tui.core.errors import DataError
from mg_tui.families import Preprocessing

PATCH_SIZE: Final = 14  # pixels: side of a patch of the vision tower
MERGE_SIZE: Final = 2  # patches along a side that become one token
MAX_ASPECT_RATIO: Final = 200  # the most that an image may be longer than it is wide


def smart_resize(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """The size, in pixels, that the processor resizes an image to: multiples of 28 within the limits.

    The same arithmetic as `smart_resize` in transformers, models/qwen2_vl/image_processing_qwen2_vl.py, which is that
    of qwen-vl-utils by the Qwen team.

    Raises:
        DataError: the image is more than 200 times as long as it is wide.
    """
    if min(width, height) < 1 or max(width, height) / min(width, height) > MAX_ASPECT_RATIO:
        raise DataError(
            f"an image of {width} x {height} pixels is too long for Qwen2.5-VL",
            why=f"one side is more than {MAX_ASPECT_RATIO} times the other",
            hint="crop it",
        )
    factor = PATCH_SIZE * MERGE_SIZE
    wide, high = round(width / factor) * factor, round(height / factor) * factor
    if wide * high > limits.max_pixels:
        shrink = math.sqrt((height * width) / limits.max_pixels)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
        high = max(factor, math.floor(height / shrink / factor) * factor)
    elif wide * high < limits.min_pixels:
        grow = math.sqrt(limits.min_pixels / (height * width))
        wide = math.ceil(width * grow / factor) * factor
        high = math.ceil(height * grow / factor) * factor
    return wide, high


def token_grid(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """Rows and columns of the tokens of an image of this size, in pixels; raises as `smart_resize` does."""
    wide, high = smart_resize(width, height, limits)
    return high // (PATCH_SIZE * MERGE_SIZE), wide // (PATCH_SIZE * MERGE_SIZE)


def image_tokens(width: int, height: int, limits: Preprocessing) -> int:
    """Tokens of an image of this size, in pixels; raises as `smart_resize` does."""
    return math.prod(token_grid(width, height, limits))

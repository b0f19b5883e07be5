"""From an image's size to its tokens, and from tokens to their positions: arithmetic alone, no torch."""

import math
from collections.abc import Sequence
from typing import Final

from mg_tui.core.errors import DataError
from mg_tui.core.resizing import resize_to_multiples
from mg_tui.families import Preprocessing

PATCH_SIZE: Final = 14  # pixels: side of a patch of the vision tower
MERGE_SIZE: Final = 2  # patches along a side that become one token
MAX_ASPECT_RATIO: Final = 200  # the most that an image may be longer than it is wide


def smart_resize(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """The size, in pixels, that the processor resizes an image to: multiples of 28 within the limits.

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
    return resize_to_multiples(width, height, factor=factor, min_pixels=limits.min_pixels, max_pixels=limits.max_pixels)


def token_grid(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """Rows and columns of the tokens of an image of this size, in pixels; raises as `smart_resize` does."""
    wide, high = smart_resize(width, height, limits)
    return high // (PATCH_SIZE * MERGE_SIZE), wide // (PATCH_SIZE * MERGE_SIZE)


def image_tokens(width: int, height: int, limits: Preprocessing) -> int:
    """Tokens of an image of this size, in pixels; raises as `smart_resize` does."""
    return math.prod(token_grid(width, height, limits))


def rope_positions(runs: Sequence[int | tuple[int, int]]) -> list[list[int]]:
    """M-RoPE positions (time, row, column) of runs of text tokens and of images' (rows, columns).

    As `get_rope_index` of transformers, models/qwen2_5_vl/modeling_qwen2_5_vl.py: text counts up on all three axes, an
    image's tokens share one time index and count rows and columns from there, and the following tokens start after its
    longer side.
    """
    time: list[int] = []
    row: list[int] = []
    column: list[int] = []
    start = 0
    for run in runs:
        if isinstance(run, int):
            for axis in (time, row, column):
                axis += range(start, start + run)
            start += run
        else:
            rows, columns = run
            time += [start] * (rows * columns)
            row += [start + r for r in range(rows) for _ in range(columns)]
            column += [start + c for _ in range(rows) for c in range(columns)]
            start += max(rows, columns)
    return [time, row, column]

"""Arithmetic that several families share: how image processors choose the size of an image. No torch."""

import math
from typing import Final

from mg_tui.core.errors import DataError
from mg_tui.core.preprocessing import Preprocessing

MAX_ASPECT_RATIO: Final = 200  # the most that an image may be longer than it is wide, in `smart_resize`


def resize_by_area(width: int, height: int, limits: Preprocessing, *, factor: int, title: str) -> tuple[int, int]:
    """The size, in pixels, that a processor resizes an image to: multiples of `factor` within the limits of its area.

    The same arithmetic as `smart_resize` of the image processors in transformers that have a function of that name.

    Args:
        width, height: of the image.
        limits: of its area.
        factor: side in pixels of the square that becomes one token.
        title: of the family, for the message.

    Raises:
        DataError: the image is more than 200 times as long as it is wide.
    """
    if min(width, height) < 1 or max(width, height) / min(width, height) > MAX_ASPECT_RATIO:
        raise DataError(
            f"an image of {width} x {height} pixels is too long for {title}",
            why=f"one side is more than {MAX_ASPECT_RATIO} times the other",
            hint="crop it",
        )
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

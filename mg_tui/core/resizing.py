"""Sizes of images that are resized to multiples of a factor within limits of their area."""

import math


def resize_to_multiples(width: int, height: int, *, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The width and height, in pixels, that an image of a size is resized to: multiples of `factor` within the limits.

    The same arithmetic as `smart_resize` of the image processors in transformers that have a function of that name.
    """
    wide, high = round(width / factor) * factor, round(height / factor) * factor
    if wide * high > max_pixels:
        shrink = math.sqrt((height * width) / max_pixels)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
        high = max(factor, math.floor(height / shrink / factor) * factor)
    elif wide * high < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        wide = math.ceil(width * grow / factor) * factor
        high = math.ceil(height * grow / factor) * factor
    return wide, high

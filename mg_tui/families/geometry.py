"""Arithmetic that several families share: how image processors choose the size of an image. No torch."""

from typing import Final

from mg_tui.core.errors import DataError
from mg_tui.core.preprocessing import Preprocessing
from mg_tui.core.resizing import resize_to_multiples
from mg_tui.families.image_contract import TokenLayout, grid_positions

MAX_ASPECT_RATIO: Final = 200  # the most that an image may be longer than it is wide, in `smart_resize`


def resize_by_area(width: int, height: int, limits: Preprocessing, *, factor: int, title: str) -> tuple[int, int]:
    """The size, in pixels, that a processor resizes an image to: multiples of `factor` within the limits of its area.

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
    return resize_to_multiples(width, height, factor=factor, min_pixels=limits.min_pixels, max_pixels=limits.max_pixels)


def merged_patch_layout(title: str, *, patch: int, merge: int = 2) -> TokenLayout:
    """The layout of families that resize by area to whole squares of merged patches, each of which is a token (M-RoPE).

    Args:
        title: of the family, for messages.
        patch: pixels along a patch, where the checkpoint's settings (`patch_size`) do not say.
        merge: patches along the square, likewise (`merge_size`).
    """

    def side(limits: Preprocessing) -> int:
        return int(limits.settings.get("patch_size", patch)) * int(limits.settings.get("merge_size", merge))

    def resized(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
        return resize_by_area(width, height, limits, factor=side(limits), title=title)

    def grid(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
        wide, high = resized(width, height, limits)
        return high // side(limits), wide // side(limits)

    return TokenLayout(grid=grid, positions=grid_positions, resized=resized)

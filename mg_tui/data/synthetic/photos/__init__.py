"""Random crops of nine real photos (see ATTRIBUTION.md), and properties measured on a crop.

Each photo has two regions that share no pixel: training crops come from one, held-out crops from the other.
"""

from __future__ import annotations

import colorsys
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from PIL import Image

PhotoRegion = Literal["train", "held_out"]
RelativeBox = tuple[float, float, float, float]

# How each photo is divided: (axis, share of the photo, whether the first part is the training region).
# The cuts are chosen so that both regions show part of the subject.
_CUTS: dict[str, tuple[Literal["x", "y"], float, bool]] = {
    "astronaut": ("y", 0.58, True),
    "camera": ("x", 0.56, True),
    "chelsea": ("x", 0.56, True),
    "china": ("x", 0.36, False),
    "coffee": ("x", 0.54, True),
    "flower": ("x", 0.48, False),
    "hubble_deep_field": ("x", 0.58, True),
    "retina": ("x", 0.56, True),
    "rocket": ("x", 0.58, True),
}
PHOTOS: tuple[str, ...] = tuple(_CUTS)


@dataclass(frozen=True)
class PhotoFacts:
    """Properties measured on a crop of a photo."""

    photo: str
    box: tuple[int, int, int, int]
    main_color: str
    brightness: str
    corners: tuple[str, str, str, str]  # colors: top left, top right, bottom left, bottom right


@cache
def load_photo(name: str) -> Image.Image:
    """A photo of the package by its name, as RGB."""
    with Image.open(Path(__file__).parent / f"{name}.jpg") as image:
        return image.convert("RGB")


def photo_region(name: str, region: PhotoRegion) -> RelativeBox:
    """A region of a photo as (left, top, right, bottom), in shares of its size."""
    axis, cut, first_trains = _CUTS[name]
    first = first_trains == (region == "train")
    if axis == "x":
        return (0.0, 0.0, cut, 1.0) if first else (cut, 0.0, 1.0, 1.0)
    return (0.0, 0.0, 1.0, cut) if first else (0.0, cut, 1.0, 1.0)


def crop_photo(
    rng: random.Random,
    name: str,
    *,
    region: PhotoRegion = "train",
    size: tuple[int, int] = (112, 112),
    scale: tuple[float, float] = (0.55, 1.0),
) -> tuple[Image.Image, PhotoFacts]:
    """A random crop of one region of a photo, with the aspect ratio of ``size``, and its measured properties."""
    photo = load_photo(name)
    left, top, right, bottom = photo_region(name, region)
    x0, y0 = math.ceil(left * photo.width), math.ceil(top * photo.height)
    x1, y1 = math.floor(right * photo.width), math.floor(bottom * photo.height)
    fit = min((x1 - x0) / size[0], (y1 - y0) / size[1]) * rng.uniform(*scale)
    width, height = max(8, int(size[0] * fit)), max(8, int(size[1] * fit))
    x, y = rng.randint(x0, x1 - width), rng.randint(y0, y1 - height)
    box = (x, y, x + width, y + height)
    crop = photo.crop(box).resize(size, Image.Resampling.LANCZOS)
    return crop, measure_crop(crop, name, box)


def name_color(rgb: Sequence[float]) -> str:
    """The name of a color, out of those used for shapes and backgrounds."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in rgb[:3]))
    if value < 0.22:
        return "black"
    if saturation < 0.16:
        return "white" if value > 0.78 else "grey"
    degrees = hue * 360
    if degrees < 42 or degrees >= 335:
        if value < 0.62:
            return "brown"
        return "red" if degrees < 16 or degrees >= 335 else "orange"
    for limit, color in ((68, "yellow"), (165, "green"), (200, "cyan"), (262, "blue")):
        if degrees < limit:
            return color
    return "purple"


def measure_crop(crop: Image.Image, photo: str, box: tuple[int, int, int, int]) -> PhotoFacts:
    """Main color, brightness and the colors of the four quadrants of a crop."""
    # After a resize to 2 x 2 with the box filter, each pixel is the exact mean of one quarter.
    data = crop.resize((2, 2), Image.Resampling.BOX).convert("RGB").tobytes()
    quarters = [data[i : i + 3] for i in range(0, 12, 3)]
    mean = [sum(quarter[c] for quarter in quarters) / 4 for c in range(3)]
    luma = 0.299 * mean[0] + 0.587 * mean[1] + 0.114 * mean[2]
    brightness = "dark" if luma < 80 else "bright" if luma > 140 else "medium"
    corners = tuple(name_color(quarter) for quarter in quarters)
    return PhotoFacts(photo, box, name_color(mean), brightness, (corners[0], corners[1], corners[2], corners[3]))

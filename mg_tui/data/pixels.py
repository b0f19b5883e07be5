"""Converts any Pillow image to RGB: upright, full range of values, transparency over white.

| content of the file                  | conversion                                                                 |
|--------------------------------------|-----------------------------------------------------------------------------|
| EXIF orientation                     | applied                                                                     |
| alpha, palette or key transparency   | laid over white                                                             |
| CMYK                                 | Pillow's conversion; JPEGs store it inverted (Adobe), which Pillow undoes    |
| 16-bit grayscale                     | divided by 257, so that 65,535 is white; no stretching of contrast           |
| 32-bit integers                      | 8 bits up to 255, 16 bits up to 65,535, else lowest black, highest white     |
| floats                               | 0..1, 0..255, else lowest black, highest white; NaN is refused               |
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION_TAG: Final = 0x0112
_ALPHA_MODES: Final = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_BAND_ROWS: Final = 512
_NUMERIC_MODES: Final = frozenset({"I", "F"})


class PixelConversionError(ValueError):
    """Pixels that cannot be converted to RGB; the message completes a sentence whose subject is the image."""


def orientation(image: "Image.Image") -> int:
    """EXIF orientation, 1 to 8; 1 when there is none or it cannot be read. Does not decode pixels."""
    if image.format == "TIFF":
        return 1  # Pillow rotates TIFFs itself, and the header's size with them.
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & set(image.info):
        return 1  # getexif() would make Pillow decode the pixels to search for EXIF data after them.
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # A broken EXIF block does not affect the pixels.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def to_rgb(image: "Image.Image") -> "Image.Image":
    """A new RGB image, upright, independent of the file it came from.

    Raises:
        PixelConversionError: the pixels cannot be converted to RGB.
        ValueError: Pillow cannot convert this mode to RGB.
    """
    rotation = orientation(image)
    flat = _convert_mode(image)
    if rotation != 1:
        flat = flat.transpose(_transpositions()[rotation])
    return flat.copy() if flat is image else flat


def _transpositions() -> Mapping[int, "Image.Transpose"]:
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }


def _convert_mode(image: "Image.Image") -> "Image.Image":
    if image.mode.startswith("I;16"):
        return _from_sixteen_bits(image)
    if image.mode in _NUMERIC_MODES:
        return _from_numbers(image)
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return _over_white(image)
    if image.mode == "RGB":
        return image
    if image.mode == "LAB":
        return _from_lab(image)
    return image.convert("RGB")


def _over_white(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode == "La":
        image = image.convert("LA")
    white = Image.new("RGB", image.size, (255, 255, 255))
    for box in _bands(image):
        band = image.crop(box).convert("RGBA")
        white.paste(band, box, band.getchannel("A"))
    return white


def _from_sixteen_bits(image: "Image.Image") -> "Image.Image":
    transparent_value = image.info.get("transparency")

    def to_gray(band: "Image.Image") -> "Image.Image":
        numbers = band.convert("I")
        gray = _scale_to_gray(numbers, 1 / 257)
        if isinstance(transparent_value, int):
            import numpy as np
            from PIL import Image

            transparent = np.asarray(numbers) == transparent_value
            gray.paste(255, mask=Image.fromarray(transparent.astype(np.uint8) * 255))
        return gray

    return _gray_to_rgb(image, to_gray)


def _from_numbers(image: "Image.Image") -> "Image.Image":
    require_convertible(image)
    low, high = (float(bound) for bound in _extrema(image))
    if image.format == "PPM":
        scale, offset = 1 / 257, 0.0  # Pillow scales PGM to 16 bits, regardless of its maximum value.
    elif image.mode == "F" and low >= 0 and high <= 1:
        scale, offset = 255.0, 0.0
    elif low >= 0 and high <= 255:
        scale, offset = 1.0, 0.0
    elif image.mode == "I" and low >= 0 and high <= 65_535:
        scale, offset = 1 / 257, 0.0
    else:
        scale = 255 / (high - low) if high > low else 0.0
        offset = -low * scale
    return _gray_to_rgb(image, lambda band: _scale_to_gray(band, scale, offset))


def require_convertible(image: "Image.Image") -> None:
    """Require that pixels of mode F have a gray value, without converting them.

    Raises:
        PixelConversionError: some are not numbers, or there are several channels.
    """
    if image.mode != "F":
        return
    import numpy as np

    if not all(np.isfinite(np.asarray(image.crop(box))).all() for box in _bands(image)):
        raise PixelConversionError("contains NaN or infinite pixels")
    _extrema(image)


def _bands(image: "Image.Image") -> Iterator[tuple[int, int, int, int]]:
    """Boxes of some rows each: copies of a whole image would take several times its memory."""
    image.load()
    for top in range(0, image.height, _BAND_ROWS):
        yield 0, top, image.width, min(top + _BAND_ROWS, image.height)


def _gray_to_rgb(image: "Image.Image", to_gray: "Callable[[Image.Image], Image.Image]") -> "Image.Image":
    from PIL import Image

    rgb = Image.new("RGB", image.size)
    for box in _bands(image):
        rgb.paste(to_gray(image.crop(box)).convert("RGB"), box)
    return rgb


def _extrema(image: "Image.Image") -> tuple[float, float]:
    low, high = image.getextrema()
    if isinstance(low, tuple) or isinstance(high, tuple):
        raise PixelConversionError("has several floating-point channels")
    return low, high


def _scale_to_gray(image: "Image.Image", scale: float, offset: float = 0.0) -> "Image.Image":
    """`value * scale + offset`, rounded, as an 8-bit gray image; for modes I and F."""
    half_up = offset + 0.5  # Pillow truncates fractions.
    return image.point(lambda value: value * scale + half_up).convert("L")


def _from_lab(image: "Image.Image") -> "Image.Image":
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if converted is None:
        raise PixelConversionError("is in the LAB color space and cannot be converted")
    return converted

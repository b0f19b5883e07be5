"""Images from untrusted files: sized from the header, verified by decoding, opened as RGB.

Only raster formats that are decoded inside this process are enabled: Pillow passes PostScript to an interpreter. Every
exception of a decoder becomes an `ImageError` that describes the problem.
"""

import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from mg_tui.core.errors import DataError
from mg_tui.data.pixels import PixelConversionError, orientation, require_convertible, to_rgb
from mg_tui.data.png_checksums import DamagedPng, require_valid_png
from mg_tui.data.row_problems import quote_text, safe_line

if TYPE_CHECKING:
    from PIL import Image

# 179 megapixels are 537 MB of RGB: more than any camera produces, and Pillow's own limit for decompression bombs.
MAX_IMAGE_PIXELS: Final = 178_956_970
IMAGE_FORMATS: Final = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO")
COMMON_FORMATS: Final = "JPEG, PNG or WebP"

# Larger images are decoded one at a time, so that parallel threads do not multiply the peak memory.
_LARGE_PIXELS: Final = 32_000_000
_large_image_lock = threading.Lock()

_IMAGE_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"RIFF", "WebP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"\x00\x00\x00\x0cjP", "JPEG 2000"),
)
_NOT_IMAGES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"version https://git-lfs", "is a Git LFS pointer; download the file with git lfs pull"),
    (b"%!ps", "is PostScript, which is not supported; save it as PNG"),
    (b"%pdf", "is a PDF; save its pages as PNG"),
    (b"<!doctype html", "is a web page, not an image"),
    (b"<html", "is a web page, not an image"),
    (b"pk\x03\x04", "is a zip archive, not an image"),
    (b"\x1f\x8b", "is a gzip file, not an image"),
)


class ImageError(DataError):
    """An image that cannot be used. `reason` completes a sentence whose subject is the image; `kind` is "missing" (the
    file does not exist), "bomb" (its header claims too many pixels) or "damaged" (any other reason)."""

    def __init__(
        self,
        reason: str,
        *,
        path: str | Path | None = None,
        hint: str | None = None,
        kind: Literal["missing", "damaged", "bomb"] = "damaged",
    ):
        self.reason = reason
        self.kind = kind
        name = f"image {quote_text(str(path))} " if path is not None else "the image "
        super().__init__(name + reason, hint=hint)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header of an image file contains.

    Attributes:
        width, height: pixels, as `open_image` returns them: with EXIF orientation applied.
        format: Pillow's name of the format, e.g. "JPEG".
        mode: Pillow's pixel mode of the file, e.g. "RGBA".
        bytes: size of the file.
        animated: it has several frames or pages, of which the first is used.
    """

    width: int
    height: int
    format: str
    mode: str
    bytes: int
    animated: bool


def probe_image(path: str | Path) -> ImageInfo:
    """Size and format from the header, without decoding pixels.

    Raises:
        ImageError: the file is missing, empty, not an image, or claims more than `MAX_IMAGE_PIXELS`.
    """
    with _open_checked(path) as (_image, info):
        return info


def verify_image(path: str | Path) -> ImageInfo:
    """As `probe_image`, and decode every pixel: an image that passes can be opened. JPEGs are decoded at reduced size,
    which reads the whole file at about half the cost.

    Raises:
        ImageError: as `probe_image`, or the pixels are truncated or damaged.
    """
    with _open_checked(path) as (image, info):
        if image.format == "PNG":
            require_valid_png(Path(path))
        if image.mode in ("F", "LAB"):
            # Whether these can be converted to RGB depends on their pixels.
            with _limit_large_decodes(info):
                require_convertible(image) if image.mode == "F" else to_rgb(image)
            return info
        image.draft(None, (max(info.width // 8, 1), max(info.height // 8, 1)))
        with _limit_large_decodes(info):
            image.load()
        return info


def open_image(path: str | Path) -> "Image.Image":
    """The image as RGB, upright, over white, its first frame if it has several; see `mg_tui.data.pixels`.

    Raises:
        ImageError: as `verify_image`, or the pixels cannot be converted to RGB.
    """
    with _open_checked(path) as (image, info), _limit_large_decodes(info):
        image.load()
        return to_rgb(image)


@contextmanager
def _open_checked(path: str | Path) -> Iterator[tuple["Image.Image", ImageInfo]]:
    formats = _prepare_pillow()
    from PIL import Image, ImageFile

    # A truncated image must never be filled up with gray, even if another library has set this option.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    file, size = _open_file(path)
    with file:
        try:
            with Image.open(file, formats=formats) as image:
                _require_valid_size(image, path)
                yield image, _read_info(image, size)
        except (ImageError, KeyboardInterrupt, GeneratorExit):
            raise
        except Exception as error:
            raise _to_image_error(error, path, file) from None


_enabled_formats: tuple[str, ...] = ()
_prepare_lock = threading.Lock()


def _prepare_pillow() -> tuple[str, ...]:
    """Set Pillow's global options; returns the formats this build can open."""
    global _enabled_formats
    if _enabled_formats:
        return _enabled_formats
    with _prepare_lock:
        import warnings

        from PIL import Image

        Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS
        # Pillow warns about sizes and broken metadata, which this module checks itself.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        Image.init()
        _enabled_formats = tuple(name for name in IMAGE_FORMATS if name in Image.OPEN)
    return _enabled_formats


def _open_file(path: str | Path) -> tuple[BinaryIO, int]:
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("is a folder", path=path)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("is not a regular file", path=path)
        if status.st_size == 0:
            raise ImageError("is empty (0 bytes)", path=path)
        return path.open("rb"), status.st_size
    except FileNotFoundError:
        raise ImageError("does not exist", path=path, kind="missing") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be read: {_os_reason(error)}", path=path) from None


def _os_reason(error: OSError | ValueError) -> str:
    return safe_line((error.strerror if isinstance(error, OSError) else None) or str(error), limit=120).lower()


def _require_valid_size(image: "Image.Image", path: str | Path) -> None:
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        size = f"claims {width:,} x {height:,} pixels; at most {MAX_IMAGE_PIXELS:,} pixels are allowed"
        raise ImageError(size, path=path, kind="bomb")
    if width < 1 or height < 1:
        raise ImageError(f"claims {width:,} x {height:,} pixels", path=path)


def _read_info(image: "Image.Image", size: int) -> ImageInfo:
    width, height = image.size
    if orientation(image) >= 5:
        width, height = height, width
    try:
        animated = bool(getattr(image, "is_animated", False))
    except Exception:  # A broken second frame does not matter: the first is used.
        animated = False
    return ImageInfo(width, height, image.format or "unknown", image.mode, size, animated)


@contextmanager
def _limit_large_decodes(info: ImageInfo) -> Iterator[None]:
    if info.width * info.height < _LARGE_PIXELS:
        yield
        return
    with _large_image_lock:
        yield


def _to_image_error(error: Exception, path: str | Path, file: BinaryIO) -> ImageError:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, PixelConversionError | DamagedPng):
        return ImageError(str(error), path=path)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        match = re.search(r"\((\d+) pixels\)", str(error))
        pixels = f"{int(match[1]):,}" if match else "too many"
        what = f"claims {pixels} pixels; at most {MAX_IMAGE_PIXELS:,} are allowed"
        return ImageError(what, path=path, kind="bomb")
    if isinstance(error, MemoryError):
        return ImageError("is too large for memory", path=path)
    if isinstance(error, UnidentifiedImageError):
        return _unidentified_error(path, file)
    detail = safe_line(str(error), limit=120) or type(error).__name__
    if "truncated" in detail.lower() or "Truncated" in type(error).__name__ or isinstance(error, EOFError):
        return ImageError(f"is truncated: {detail}", path=path, hint="copy or download it again")
    return ImageError(f"is damaged or has an unknown format: {detail}", path=path)


def _unidentified_error(path: str | Path, file: BinaryIO) -> ImageError:
    try:
        file.seek(0)
        head = file.read(1024)
    except (OSError, ValueError):
        head = b""
    for magic, name in _IMAGE_MAGIC:
        if head.startswith(magic):
            return ImageError(f"is a truncated or damaged {name} image", path=path)
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis"):
        return ImageError(f"is HEIC, which is not supported; save it as {COMMON_FORMATS}", path=path)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!doctype svg", b"<!--")) and b"<svg" in text):
        return ImageError("is SVG, a vector format; save it as PNG", path=path)
    for magic, reason in _NOT_IMAGES:
        if text.startswith(magic):
            return ImageError(reason, path=path)
    return ImageError(f"is not a supported image; use {COMMON_FORMATS}", path=path)

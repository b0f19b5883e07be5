"""Usable images that may be a mistake: small, elongated, large files, several frames, unusual pixel modes."""

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

from mg_tui.data.checks.findings import Finding, Histogram
from mg_tui.data.image_probe import ImageProbe
from mg_tui.data.images import ImageInfo
from mg_tui.data.row_loader import LoadedRow
from mg_tui.data.row_problems import quote_text

# A patch of a vision tower is 14 or 16 pixels wide and a token covers 2 x 2 patches: below four tokens a side little
# more than a color is left.
MIN_SIDE: Final = 112
MAX_ASPECT_RATIO: Final = 8
# The guide: "Keep images under 5MB each".
MAX_FILE_BYTES: Final = 5_000_000
# Four times the pixels: half of each side is discarded every time it is read.
MAX_PIXEL_FACTOR: Final = 4
_USUAL_MODES: Final = frozenset({"RGB", "L", "1"})
_EXTENSIONS: Final = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "DIB": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
    "AVIF": (".avif",),
    "ICO": (".ico",),
}
_KNOWN_EXTENSIONS: Final = frozenset(extension for extensions in _EXTENSIONS.values() for extension in extensions)
_UNUSUAL_MODES: Final = {
    "CMYK": "is a CMYK image",
    "P": "has a palette",
    "PA": "has a palette with transparency",
    "RGBA": "is partly transparent",
    "LA": "is partly transparent",
    "LAB": "is a LAB image",
    "I": "has 32-bit integer pixels",
    "F": "has floating-point pixels",
}


class ImageCheck:
    """Checks images by their headers.

    Args:
        max_pixels: larger images are downscaled to this many.
    """

    def __init__(self, max_pixels: int):
        self._max_pixels = max_pixels
        self.pixels = Histogram()
        self.formats: Counter[str] = Counter()
        self.locations: Counter[str] = Counter()
        self._paths: set[str] = set()
        self.use_count = 0

    @property
    def distinct_count(self) -> int:
        """Number of distinct images."""
        return len(self._paths)

    def check_row(self, row: LoadedRow) -> Iterator[Finding]:
        """See `Check`."""
        for name, outcome in row.images:
            if not isinstance(outcome, ImageProbe):
                continue
            self.use_count += 1
            self.locations[outcome.resolved.location] += 1
            if outcome.info is None:
                continue
            path = outcome.resolved.ref.path
            if path not in self._paths:
                self._paths.add(path)
                self.pixels.add(outcome.info.width * outcome.info.height)
                self.formats[outcome.info.format] += 1
            for kind, what in self._issues(name, outcome.info):
                yield Finding(row.number, kind, row.image_field, f"{quote_text(name, limit=80)} {what}")

    def _issues(self, name: str, info: ImageInfo) -> Iterator[tuple[str, str]]:
        short, long = sorted((info.width, info.height))
        size = f"{info.width:,} x {info.height:,} pixels"
        if short < MIN_SIDE:
            yield "image-small", f"has {size}; the guide recommends 224 x 224 to 512 x 512"
        if long > MAX_ASPECT_RATIO * short:
            yield "image-ratio", f"has {size}, aspect ratio {long / short:.0f}:1"
        if info.bytes > MAX_FILE_BYTES:
            yield "image-heavy", f"has {info.bytes / 1e6:.1f} MB"
        if info.width * info.height > MAX_PIXEL_FACTOR * self._max_pixels:
            yield "image-large", f"has {size}; it is downscaled to {self._max_pixels:,} pixels"
        if info.animated:
            yield "image-animated", "has several frames or pages; only the first is used"
        if info.mode not in _USUAL_MODES:
            yield "image-mode", _UNUSUAL_MODES.get(info.mode, f"has pixel mode {info.mode}")
        extension = PurePath(name.partition("?")[0]).suffix.lower()
        if extension in _KNOWN_EXTENSIONS and extension not in _EXTENSIONS.get(info.format, (extension,)):
            yield "image-ending", f"is {info.format}, despite its file extension"

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        return iter(())

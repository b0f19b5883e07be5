"""Images that can be used and may not be what was meant: small, long, heavy, of several frames, of unusual pixels."""

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

from mg_tui.data.checks.base import LoadedRow
from mg_tui.data.checks.findings import Finding, Histogram
from mg_tui.data.image_probe import ImageProbe
from mg_tui.data.images import ImageInfo
from mg_tui.data.row_problems import quote_text

# A patch of a vision tower is 14 or 16 pixels wide, and two by two of them make a token: below four tokens a side
# nothing but a colour is seen.
MIN_SIDE: Final = 112
MAX_ASPECT_RATIO: Final = 8
# The guide: "Keep images under 5MB each".
MAX_FILE_BYTES: Final = 5_000_000
# Four times the pixels: half of each side is thrown away at every reading.
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
_KNOWN_EXTENSIONS: Final = frozenset(ending for endings in _EXTENSIONS.values() for ending in endings)
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
    """Judges images by what their headers say.

    Args:
        max_pixels: a larger image is reduced to this many.
    """

    def __init__(self, max_pixels: int):
        self._max_pixels = max_pixels
        self.pixels = Histogram()
        self.formats: Counter[str] = Counter()
        self.locations: Counter[str] = Counter()
        self._seen: set[str] = set()
        self.use_count = 0

    @property
    def distinct_count(self) -> int:
        """Images seen."""
        return len(self._seen)

    def check_row(self, judged: LoadedRow) -> Iterator[Finding]:
        """See `Check`."""
        for given, outcome in judged.images:
            if not isinstance(outcome, ImageProbe):
                continue
            self.use_count += 1
            self.locations[outcome.resolved.location] += 1
            if outcome.info is None:
                continue
            path = outcome.resolved.ref.path
            if path not in self._seen:
                self._seen.add(path)
                self.pixels.add(outcome.info.width * outcome.info.height)
                self.formats[outcome.info.format] += 1
            for kind, what in self._issues(given, outcome.info):
                yield Finding(judged.number, kind, judged.image_field, f"{quote_text(given, limit=80)} {what}")

    def _issues(self, given: str, info: ImageInfo) -> Iterator[tuple[str, str]]:
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
        ending = PurePath(given.partition("?")[0]).suffix.lower()
        if ending in _KNOWN_EXTENSIONS and ending not in _EXTENSIONS.get(info.format, (ending,)):
            yield "image-ending", f"is {info.format}, despite its file extension"

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        return iter(())

"""Types of image files: by their first bytes, and by the extensions of their names."""

from typing import Final, Literal

# First bytes, usual extension, MIME type.
_TYPES: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"\xff\xd8\xff", ".jpg", "image/jpeg"),
    (b"\x89PNG", ".png", "image/png"),
    (b"GIF8", ".gif", "image/gif"),
    (b"RIFF", ".webp", "image/webp"),
    (b"BM", ".bmp", "image/bmp"),
    (b"II*\x00", ".tif", "image/tiff"),
    (b"MM\x00*", ".tif", "image/tiff"),
)

# Extensions of formats that can be opened (`mg_tui.data.images.IMAGE_FORMATS`).
SUPPORTED_EXTENSIONS: Final = frozenset(".jpg .jpeg .jfif .png .webp .gif .bmp .tif .tiff .jp2 .avif .ppm .pgm".split())
# Extensions that mark a file as an image of a dataset: .svg and .heic are reported as unsupported, not left out.
DATASET_IMAGE_EXTENSIONS: Final = frozenset(
    ".jpg .jpeg .png .webp .gif .bmp .tif .tiff .ppm .jp2 .avif .svg .heic".split()
)

# Extensions of files that belong to a row and cannot be read.
_MEDIA_EXTENSIONS: Final[dict[str, Literal["video", "audio"]]] = {
    **dict.fromkeys(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .wmv .flv .3gp .ogv".split(), "video"),
    **dict.fromkeys(".wav .mp3 .flac .ogg .oga .opus .m4a .aac .wma .aiff".split(), "audio"),
}


def media_kind(extension: str) -> Literal["video", "audio"] | None:
    """Whether an extension, with its dot, is that of a video or of audio."""
    return _MEDIA_EXTENSIONS.get(extension.lower())


def image_extension(data: bytes) -> str:
    """The usual extension of a file that begins with `data`, e.g. ".png"; empty when it is not a known image."""
    return next((extension for magic, extension, _mime in _TYPES if data.startswith(magic)), "")


def image_mime_type(data: bytes) -> str:
    """The MIME type of a file that begins with `data`; "application/octet-stream" when it is not a known image."""
    return next((mime for magic, _extension, mime in _TYPES if data.startswith(magic)), "application/octet-stream")

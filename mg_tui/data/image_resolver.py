"""Resolves the images of rows: an absolute path, a path relative to one of three folders, a URL, or embedded bytes.

Relative paths are looked up in the folder of the dataset file, then in the image root, then in the working directory.
"""

import os
import re
import shlex
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote

from mg_tui.core.example import ImageRef
from mg_tui.data.embedded_images import EmbeddedImage, ImageInput
from mg_tui.data.images import ImageError
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.row_problems import safe_line

if TYPE_CHECKING:
    from mg_tui.data.image_downloads import ImageDownloads

ImageLocation = Literal["absolute path", "dataset folder", "image root", "working folder", "address", "row"]

_MAX_SEARCHES: Final = 8  # for missing images in other folders
_URL_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HTTP_URL: Final = re.compile(r"https?:/", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image that exists, and the location it was found in."""

    ref: ImageRef
    location: ImageLocation


class ImageResolver:
    """Finds the files of images. Thread-safe.

    Args:
        dataset_folder: folder of the dataset file.
        image_root: a second folder for relative paths, or None.
        cwd: the last folder for relative paths.
        cache: the garden's cache folder, for downloads; None refuses URLs.
        allow_private_urls: allow URLs that resolve to private addresses; None reads the environment variable
            `MODEL_GARDEN_ALLOW_PRIVATE_URLS`.
        policy: where files may be read from.
    """

    def __init__(
        self,
        dataset_folder: Path,
        image_root: Path | None = None,
        cwd: Path | None = None,
        cache: Path | None = None,
        *,
        allow_private_urls: bool | None = None,
        policy: ReadPolicy = ALLOW_ALL,
    ):
        self._policy = policy
        folders: list[tuple[ImageLocation, Path]] = [("dataset folder", dataset_folder)]
        if image_root is not None:
            folders.append(("image root", image_root))
        folders.append(("working folder", cwd if cwd is not None else Path.cwd()))
        self._folders = tuple((location, folder.expanduser().absolute()) for location, folder in folders)
        self._cache = cache
        # Whoever may not read every file here may not reach every address from here either.
        self._allow_private_urls = False if policy.roots is not None else allow_private_urls
        self._downloads: ImageDownloads | None = None
        self._lock = threading.Lock()
        self._real_folders: dict[Path, Path] = {}
        self._other_roots: list[Path] = []  # folders that had images which were missing
        self._searches_left = _MAX_SEARCHES

    def resolve(self, image: ImageInput) -> ResolvedImage:
        """The file of an image that a dataset names; URLs are downloaded.

        Raises:
            ImageError: it exists in none of the locations (all tried paths are named), or its URL cannot be downloaded.
        """
        if isinstance(image, EmbeddedImage):
            return ResolvedImage(ImageRef(image.path, image.original), "row")
        if is_url(image):
            return ResolvedImage(ImageRef(str(self._download(image)), image), "address")
        candidates = self._candidate_paths(image)
        reasons = []
        for location, path in candidates:
            # The policy comes first: whether a forbidden file exists is not revealed either.
            reason = _why_not_file(path) if self._policy.allows(path) else "outside the allowed folders"
            if reason is None:
                return ResolvedImage(ImageRef(str(self._real_path(path)), image), location)
            reasons.append(reason)
        error = _not_found_error(image, [path for _location, path in candidates], reasons)
        root = None if Path(image).is_absolute() else self._find_other_root(image)
        if root is not None:
            folder = safe_line(str(root), limit=300)
            error.hint = f"it is in {folder}: use --image-root {shlex.quote(folder)}"
        raise error

    def _find_other_root(self, name: str) -> Path | None:
        """A folder near the dataset that has the image; searched for a few images only, as every row may fail."""
        from mg_tui.data.image_roots import find_image_roots

        with self._lock:
            for root in self._other_roots:
                if os.path.isfile(root / name):  # noqa: PTH113 - False for a name that no file can have
                    return root
            if not self._searches_left:
                return None
            self._searches_left -= 1
            roots = find_image_roots([name], self._folders[0][1])
            allowed = [root.folder for root in roots if self._policy.allows(root.folder / name)]
            self._other_roots += allowed[:1]
            return allowed[0] if allowed else None

    def _candidate_paths(self, name: str) -> list[tuple[ImageLocation, Path]]:
        if name[:5].lower() == "data:":
            raise ImageError("is a data URI; save the image to a file and use its path")
        if name[:5].lower() == "file:":
            host, slash, rest = name[5:].removeprefix("//").partition("/")
            if host not in ("", "localhost"):
                raise ImageError(f"is on a remote machine ({safe_line(host, limit=60)})")
            return [("absolute path", Path(unquote(slash + rest)))]
        if (scheme := _URL_SCHEME.match(name)) and name[scheme.end() :].startswith("//"):
            text = safe_line(scheme[0][:-1], limit=20)
            raise ImageError(f"has the URL scheme {text}; only http and https are supported")
        path = Path(name)
        if path.is_absolute():
            return [("absolute path", path)]
        candidates: list[tuple[ImageLocation, Path]] = []
        for location, folder in self._folders:
            if folder / path not in (known for _location, known in candidates):
                candidates.append((location, folder / path))
        if name.startswith("~"):
            candidates.append(("absolute path", _expand_home(path)))
        return candidates

    def _real_path(self, path: Path) -> Path:
        """One path per file, so that repeated uses of an image are recognized: symlinks in the folder are resolved."""
        folder = path.parent
        real = self._real_folders.get(folder)
        if real is None:
            real = self._real_folders[folder] = folder.resolve()
        return real / path.name

    def _download(self, url: str) -> Path:
        if self._cache is None:
            raise ImageError("is a URL, but there is no cache folder for downloads")
        with self._lock:
            if self._downloads is None:
                from mg_tui.data.image_downloads import ImageDownloads

                self._downloads = ImageDownloads(self._cache, allow_private=self._allow_private_urls)
        return self._downloads.fetch(url)


def is_url(text: str) -> bool:
    """Whether the text is an http or https URL."""
    return _HTTP_URL.match(text) is not None


def _expand_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # no such user
        return path


def _why_not_file(path: Path) -> str | None:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a third of the time of Path.stat, for every image of a dataset
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        return safe_line(error.strerror or str(error)).lower()
    except ValueError:  # a NUL in the name
        return "not a possible file name"
    if stat.S_ISDIR(mode):
        return "a folder"
    return None if stat.S_ISREG(mode) else "a pipe or a device"


def _not_found_error(name: str, paths: list[Path], reasons: list[str]) -> ImageError:
    tried = ", ".join(
        safe_line(str(path), limit=300) + ("" if reason == "missing" else f" ({reason})")
        for path, reason in zip(paths, reasons, strict=True)
    )
    if reasons and set(reasons) == {"a folder"}:
        return ImageError(f"is a folder: {tried}")
    hint = None
    if "\\" in name:
        hint = "use / as the path separator"
    elif not Path(name).is_absolute():
        hint = "relative paths are resolved against the dataset's folder, --image-root and the working directory"
    problem = "is not a file" if set(reasons) - {"missing"} else "does not exist"
    return ImageError(f"{problem}; tried {tried}", hint=hint)

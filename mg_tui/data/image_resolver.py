"""Where a row's image is: an absolute path, a path relative to one of three folders, or an address to download.

Relative paths are looked up in the folder of the dataset file, then in the image root, then in the working folder;
which place served how many images is counted, so that it can be said.
"""

import os
import re
import stat
import threading
from collections import Counter
from collections.abc import Mapping
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

_URL_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HTTP_URL: Final = re.compile(r"https?:/", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image that is there, and the place it was found in."""

    ref: ImageRef
    location: ImageLocation


class ImageResolver:
    """Finds images. May be used from several threads.

    Args:
        dataset_folder: folder of the dataset file.
        image_root: a second folder for relative paths, or None.
        cwd: the last folder for relative paths.
        cache: folder for downloads; without it addresses are refused.
        allow_private_urls: let addresses lead into private networks; None asks the environment
            (`MODEL_GARDEN_ALLOW_PRIVATE_URLS`).
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
        self._folders = tuple((place, folder.expanduser().absolute()) for place, folder in folders)
        self._cache = cache
        self._allow_private_urls = allow_private_urls
        self._downloads: ImageDownloads | None = None
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._real_folders: dict[Path, Path] = {}

    @property
    def places(self) -> Mapping[str, int]:
        """How many images `resolve` found in each place."""
        return dict(self._counts)

    def resolve(self, given: ImageInput) -> ImageRef:
        """The image a dataset names, and count its place.

        Raises:
            ImageError: it is in none of the places (all are named), or its address cannot be downloaded.
        """
        located = self.locate(given)
        with self._lock:
            self._counts[located.location] += 1
        return located.ref

    def locate(self, given: ImageInput) -> ResolvedImage:
        """As `resolve`, without counting."""
        if isinstance(given, EmbeddedImage):
            return ResolvedImage(ImageRef(given.path, given.original), "row")
        if is_url(given):
            return ResolvedImage(ImageRef(str(self._download(given)), given), "address")
        candidates = self._candidate_paths(given)
        reasons = []
        for place, path in candidates:
            # Judged before it is looked for: whether a file exists is not told either.
            reason = _why_not_file(path) if self._policy.allows(path) else "outside the allowed folders"
            if reason is None:
                return ResolvedImage(ImageRef(str(self._real_path(path)), given), place)
            reasons.append(reason)
        raise _not_found_error(given, [path for _place, path in candidates], reasons)

    def _candidate_paths(self, given: str) -> list[tuple[ImageLocation, Path]]:
        if given[:5].lower() == "data:":
            raise ImageError("is a data URI; save the image to a file and use its path")
        if given[:5].lower() == "file:":
            machine, slash, rest = given[5:].removeprefix("//").partition("/")
            if machine not in ("", "localhost"):
                raise ImageError(f"is on a remote machine ({safe_line(machine, limit=60)})")
            return [("absolute path", Path(unquote(slash + rest)))]
        if (scheme := _URL_SCHEME.match(given)) and given[scheme.end() :].startswith("//"):
            name = safe_line(scheme[0][:-1], limit=20)
            raise ImageError(f"has the URL scheme {name}; only http and https are supported")
        path = Path(given)
        if path.is_absolute():
            return [("absolute path", path)]
        candidates: list[tuple[ImageLocation, Path]] = []
        for place, folder in self._folders:
            if folder / path not in (known for _place, known in candidates):
                candidates.append((place, folder / path))
        if given.startswith("~"):
            candidates.append(("absolute path", _expand_home(path)))
        return candidates

    def _real_path(self, path: Path) -> Path:
        """One spelling per file, so that an image used twice is known to be one: links in the folder resolved."""
        folder = path.parent
        real = self._real_folders.get(folder)
        if real is None:
            real = self._real_folders[folder] = folder.resolve()
        return real / path.name

    def _download(self, given: str) -> Path:
        if self._cache is None:
            raise ImageError("is a URL, but there is no cache folder for downloads")
        with self._lock:
            if self._downloads is None:
                from mg_tui.data.image_downloads import ImageDownloads

                self._downloads = ImageDownloads(self._cache, allow_private=self._allow_private_urls)
        return self._downloads.fetch(given)


def is_url(given: str) -> bool:
    """Whether the text is an http or https address."""
    return _HTTP_URL.match(given) is not None


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


def _not_found_error(given: str, paths: list[Path], reasons: list[str]) -> ImageError:
    tried = ", ".join(
        safe_line(str(path), limit=300) + ("" if reason == "missing" else f" ({reason})")
        for path, reason in zip(paths, reasons, strict=True)
    )
    if reasons and set(reasons) == {"a folder"}:
        return ImageError(f"is a folder: {tried}")
    hint = None
    if "\\" in given:
        hint = "use / as the path separator"
    elif not Path(given).is_absolute():
        hint = "relative paths are resolved against the dataset's folder, --image-root and the working directory"
    said = "is not a file" if set(reasons) - {"missing"} else "does not exist"
    return ImageError(f"{said}; tried {tried}", hint=hint)

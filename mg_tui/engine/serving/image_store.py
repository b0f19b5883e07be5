"""Images of requests: from data URIs and addresses to checked files, under the hash of their bytes.

What a client names is untrusted. A `file:` address or a path is refused, as is every scheme but http and https; these
are downloaded by `data.image_downloads`, which connects to addresses of the public internet only and checks each
redirect. Bytes are decoded once before they reach the model. The same image of several requests is one file, so that an
engine sees that it is the same.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mg_tui.core.errors import GardenError
from mg_tui.data.image_downloads import ImageDownloads
from mg_tui.data.images import ImageError, verify_image
from mg_tui.engine.serving.answering import TaskRefused

MAX_IMAGE_BYTES: Final = 20 * 2**20  # of one image; OpenAI's limit
MAX_IMAGE_PIXELS: Final = 50_000_000  # of one image: 150 MB decoded, half a dozen of them on their way at once
MAX_DOWNLOAD_SECONDS: Final = 15.0
MAX_STORE_BYTES: Final = 512 * 2**20  # of images that no request needs any more; the oldest go first

_DATA_URI: Final = re.compile(r"data:image/[a-z0-9.+-]+(;[a-z0-9=._-]+)*;base64,", re.IGNORECASE)
_CODE: Final = "invalid_image"
_NOT_PUBLIC: Final = "has an address outside the public internet, which is never asked"


class ImageStore:
    """Image files of requests, in a folder that is removed by `close`. Thread-safe.

    Args:
        urls: whether http and https addresses are downloaded.
        max_bytes: of one image.
        max_seconds: of a download.
        keep_bytes: of images that no request needs any more.
    """

    def __init__(
        self,
        *,
        urls: bool = True,
        max_bytes: int = MAX_IMAGE_BYTES,
        max_seconds: float = MAX_DOWNLOAD_SECONDS,
        keep_bytes: int = MAX_STORE_BYTES,
    ):
        self.folder = Path(tempfile.mkdtemp(prefix="served-images-"))
        self._urls = urls
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._keep_bytes = keep_bytes
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()  # bytes by path, the one used last at the end
        self._uses: Counter[str] = Counter()

    def add(self, url: str) -> str:
        """The file of a request's image; it stays until `release`.

        Raises:
            TaskRefused: the address is refused, cannot be downloaded, or has no image.
        """
        try:
            return self._store(self._read_data_uri(url) if url[:5].lower() == "data:" else self._download(url))
        except ImageError as error:
            raise TaskRefused(f"the image {error.reason}", code=_CODE) from None
        except OSError as error:
            raise TaskRefused("the image cannot be stored", why=error.strerror) from None

    def release(self, paths: Iterable[str]) -> None:
        """A request no longer needs these images, one by one as they were added."""
        with self._lock:
            for path in paths:
                self._uses[path] -= 1
                if self._uses[path] <= 0:
                    del self._uses[path]
            self._remove_old()

    def close(self) -> None:
        """Remove all files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read_data_uri(self, url: str) -> bytes:
        head = _DATA_URI.match(url[:200])
        if head is None:
            raise TaskRefused("an image's data URI has to begin with data:image/TYPE;base64,", code=_CODE)
        if len(url) - head.end() > self._max_bytes * 4 // 3 + 4:
            raise ImageError(f"is larger than {self._max_bytes / 2**20:g} MiB")
        try:
            return base64.b64decode(url[head.end() :], validate=True)
        except (binascii.Error, ValueError):
            raise TaskRefused("an image's data URI is no valid base64", code=_CODE) from None

    def _download(self, url: str) -> bytes:
        if not url.lower().startswith(("http://", "https://")):
            raise TaskRefused(
                "an image has to be a data URI or an http(s) URL",
                why="files of the server are not read",
                code=_CODE,
            )
        if not self._urls:
            raise TaskRefused("this server downloads no images", hint="send the image as a data URI", code=_CODE)
        # A cache of its own for one download: what an address has today is not what it has tomorrow, and a client
        # cannot fill the disk.
        cache = Path(tempfile.mkdtemp(dir=self.folder, prefix="download-"))
        try:
            downloads = ImageDownloads(
                cache, max_bytes=self._max_bytes, max_seconds=self._max_seconds, allow_private=False
            )
            return downloads.fetch(url).read_bytes()
        except ImageError as error:
            # To what a name of our network resolves is not told.
            raise ImageError(_NOT_PUBLIC if error.reason.startswith("resolves to ") else error.reason) from None
        except GardenError as error:
            raise TaskRefused("the image cannot be downloaded", why=error.what, code=_CODE) from None
        finally:
            shutil.rmtree(cache, ignore_errors=True)

    def _store(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        path = str(self.folder / name)
        with self._lock:
            if path in self._sizes:
                self._use(path, len(data))
                return path
        descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix="new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            _require_fitting(temporary)
            with self._lock:
                os.replace(temporary, path)  # noqa: PTH105 - of texts, which the engine compares
                self._use(path, len(data))
        finally:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
        return path

    def _use(self, path: str, size: int) -> None:
        self._uses[path] += 1
        self._sizes[path] = size
        self._sizes.move_to_end(path)

    def _remove_old(self) -> None:
        total = sum(self._sizes.values())
        for path in [path for path in self._sizes if path not in self._uses]:
            if total <= self._keep_bytes:
                return
            total -= self._sizes.pop(path)
            with contextlib.suppress(OSError):
                Path(path).unlink()


def _require_fitting(path: str) -> None:
    """Raises ImageError for a file that is no image, or a very large one; only its header is read then."""
    from mg_tui.data.images import probe_image

    try:
        info = probe_image(path)
        if info.width * info.height > MAX_IMAGE_PIXELS:
            raise ImageError(
                f"has {info.width:,} x {info.height:,} pixels; at most {MAX_IMAGE_PIXELS:,} pixels are allowed"
            )
        verify_image(path)
    except ImageError as error:
        raise ImageError(error.reason) from None  # without the name of our file

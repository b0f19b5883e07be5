"""Images from URLs, downloaded once into the cache, within limits of size and time, from the public internet only.

URLs in a dataset are untrusted input: they may point to services of this machine, its network or its cloud provider,
directly, by a name that resolves there, or by a redirect. Every connection, redirects included, is made to an IP
address that was checked itself, never to a name that could resolve differently a second later. With a proxy from the
environment (`HTTPS_PROXY`, ...) the proxy connects; names are then checked as far as this machine can resolve them.
"""

import hashlib
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.data.addresses import ALLOW_PRIVATE, ForbiddenAddress, private_addresses_allowed
from mg_tui.data.images import ImageError, probe_image
from mg_tui.data.row_problems import safe_line

if TYPE_CHECKING:
    import httpcore

MAX_BYTES: Final = 64 * 2**20
MAX_SECONDS: Final = 30.0
MAX_REDIRECTS: Final = 5
# After this many failures a host is skipped, so that a thousand rows do not wait a thousand times.
MAX_HOST_FAILURES: Final = 3

_OFFLINE_HINT: Final = "check the network, or use local image files"


class ImageDownloads:
    """Downloads images into a cache folder, by URL. Thread-safe.

    Args:
        cache: the garden's cache folder; images go to `images/` in it.
        max_bytes, max_seconds: limits for one image, redirects included.
        allow_private: allow addresses outside the public internet; None reads `MODEL_GARDEN_ALLOW_PRIVATE_URLS`.
    """

    def __init__(
        self,
        cache: Path,
        *,
        max_bytes: int = MAX_BYTES,
        max_seconds: float = MAX_SECONDS,
        allow_private: bool | None = None,
    ):
        self._folder = cache / "images"
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._allow_private = private_addresses_allowed(allow_private)
        self._unreachable: Counter[str] = Counter()
        self._lock = threading.Lock()

    def cache_path(self, url: str) -> Path:
        """The cache file of a URL, whether or not it exists."""
        name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / name[:2] / name

    def fetch(self, url: str) -> Path:
        """The cache file of a URL, downloaded if it does not exist.

        Raises:
            ImageError: the URL is refused or unreachable, its content is too large, too slow or not an image.
            EnvironmentProblem: the cache folder cannot be written.
        """
        path = self.cache_path(url)
        if path.is_file():
            return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".download-", dir=path.parent)
        except OSError as error:
            raise self._cache_write_error(error) from None
        temporary = Path(name)
        try:
            self._download(url, descriptor)
            _require_image(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def _download(self, url: str, descriptor: int) -> None:
        deadline = time.monotonic() + self._max_seconds
        with os.fdopen(descriptor, "wb") as file:
            for _hop in range(MAX_REDIRECTS + 1):
                host = _require_host(url)
                self._require_reachable_host(host)
                next_url = self._request(url, host, deadline, file.fileno())
                if next_url is None:
                    return
                url = next_url
        raise ImageError(f"exceeds {MAX_REDIRECTS} redirects")

    def _require_reachable_host(self, host: str) -> None:
        with self._lock:
            failures = self._unreachable[host]
        if failures >= MAX_HOST_FAILURES:
            what = f"was skipped: {safe_line(host, limit=80)} was unreachable {failures} times"
            raise ImageError(what, hint=_OFFLINE_HINT)

    def _request(self, url: str, host: str, deadline: float, file: int) -> str | None:
        """Send one request: write the body to `file`, or return the URL it redirects to."""
        import httpcore

        from mg_tui.data.http_transport import DeadlineExceeded, open_connection_pool, to_ascii_url

        too_slow = f"took longer than {self._max_seconds:g} s"
        try:
            url = to_ascii_url(url)
            with (
                open_connection_pool(url, deadline, allow_private=self._allow_private) as pool,
                pool.stream("GET", url, headers=_HEADERS, extensions={"timeout": _TIMEOUTS}) as response,
            ):
                location = self._location(url, response)
                if location is None:
                    self._write(response, file)
                return location
        except ForbiddenAddress as error:
            raise ImageError(str(error), hint=f"set {ALLOW_PRIVATE}=1 to allow it") from None
        except DeadlineExceeded:
            raise ImageError(too_slow) from None
        except httpcore.TimeoutException:
            if time.monotonic() >= deadline:
                raise ImageError(too_slow) from None
            self._count_unreachable(host)
            raise ImageError("timed out", hint=_OFFLINE_HINT) from None
        except (httpcore.ConnectError, httpcore.ProxyError, OSError) as error:
            self._count_unreachable(host)
            raise ImageError(f"could not be reached: {_reason(error)}", hint=_OFFLINE_HINT) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, ValueError) as error:
            raise ImageError(f"could not be downloaded: {_reason(error)}") from None

    def _count_unreachable(self, host: str) -> None:
        with self._lock:
            self._unreachable[host] += 1

    def _location(self, url: str, response: "httpcore.Response") -> str | None:
        headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        if response.status in (301, 302, 303, 307, 308) and b"location" in headers:
            return urljoin(url, headers[b"location"])
        if response.status != 200:
            raise ImageError(f"returned status {response.status}")
        content_length = headers.get(b"content-length", "")
        if content_length.isdecimal() and int(content_length[:20]) > self._max_bytes:
            raise ImageError(self._too_large_message())
        return None

    def _write(self, response: "httpcore.Response", file: int) -> None:
        size = 0
        for chunk in response.iter_stream():
            size += len(chunk)
            if size > self._max_bytes:
                raise ImageError(self._too_large_message())
            remaining = memoryview(chunk)
            try:
                while remaining:
                    remaining = remaining[os.write(file, remaining) :]
            except OSError as error:
                raise self._cache_write_error(error) from None

    def _cache_write_error(self, error: OSError) -> EnvironmentProblem:
        what = "cannot write a downloaded image to the cache"
        return EnvironmentProblem(what, where=safe_line(str(self._folder)), why=_reason(error))

    def _too_large_message(self) -> str:
        return f"is larger than {self._max_bytes / 2**20:g} MiB"


_HEADERS: Final[Mapping[bytes | str, bytes | str]] = {
    "User-Agent": "model-garden",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
}
_TIMEOUTS: Final = {"connect": 10.0, "read": 15.0, "write": 10.0, "pool": 10.0}


def _require_host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _port = parts.port
    except ValueError as error:
        raise ImageError(f"is an invalid URL: {safe_line(str(error), limit=80)}") from None
    if parts.scheme not in ("http", "https"):
        scheme = safe_line(parts.scheme, limit=20)
        raise ImageError(f"redirects to the URL scheme {scheme}; only http and https are supported")
    if not host:
        raise ImageError("is a URL without a host")
    return host


def _require_image(path: Path) -> None:
    try:
        probe_image(path)
    except ImageError as error:
        raise ImageError(f"was downloaded but {error.reason}", hint=error.hint) from None


def _reason(error: BaseException) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return safe_line(text, limit=120).lower()

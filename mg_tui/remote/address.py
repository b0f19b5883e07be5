"""Where a server is, and the token that it is sent."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mg_tui.core.errors import UsageError

TOKEN_ENV: Final = "MODEL_GARDEN_TOKEN"
_API_PATH: Final = "/api/v1"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MAX_TOKEN_BYTES: Final = 4096
_EXAMPLE: Final = "e.g. http://127.0.0.1:8000, with `ssh -N -L 8000:127.0.0.1:8000 BOX` in another terminal"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server's scheme, host and port, and the path that its API is under."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def url(self) -> str:
        """As a person writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.prefix}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, where an SSH tunnel begins."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_server_url(url: str) -> ServerAddress:
    """The address that `--server` names; with or without `/api/v1` at its end.

    Raises:
        UsageError: it is no http or https URL, or has a password or a query in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError(f"--server: not a URL: {url!r}", hint=_EXAMPLE) from None
    if parts.username is not None or parts.password is not None:  # not repeated: it may be a secret
        raise UsageError(
            "--server: there must be no name or password in the URL.",
            hint=f"put the token into the variable {TOKEN_ENV}, or into a file and give --token-file",
        )
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise UsageError(f"--server: expected a URL with http or https, not {url!r}", hint=_EXAMPLE)
    if parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise UsageError(f"--server: expected only scheme, host and port, not {url!r}", hint=_EXAMPLE)
    prefix = parts.path.rstrip("/").removesuffix(_API_PATH)
    return ServerAddress(parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme], prefix)


def find_token(
    token_file: str | Path | None, setting: str | Path | None = None, environ: Mapping[str, str] | None = None
) -> str | None:
    """The token: from the file of `--token-file`, else the environment, else the file that the settings name.

    It is never an argument of a command: everybody on a machine can read those.

    Raises:
        UsageError: the file cannot be read, or has something else in it.
    """
    environ = os.environ if environ is None else environ
    if token_file is None and (value := environ.get(TOKEN_ENV)):
        return _checked(value.strip(), f"the variable {TOKEN_ENV}")
    file = token_file if token_file is not None else setting
    if file is None:
        return None
    try:
        with Path(file).expanduser().open("rb") as opened:
            data = opened.read(_MAX_TOKEN_BYTES + 1)
    except OSError as error:
        raise UsageError("The token cannot be read.", where=str(file), why=error.strerror) from None
    return _checked(data.decode("utf-8", "replace").strip(), str(file))


def require_private(address: ServerAddress, token: str | None) -> None:
    """Refuse to send a token, or anything, where everybody on the way can read it.

    Raises:
        UsageError: the address is another machine's, and has no TLS.
    """
    if address.scheme == "http" and not address.is_loopback:
        tunnel = f"ssh -N -L 8000:127.0.0.1:{address.port} {address.host}"
        what = "The token and everything else" if token else "Everything"
        raise UsageError(
            f"{what} would cross the network in the clear.",
            where=address.url,
            why="http:// to another machine has no encryption",
            hint=f"{tunnel}, then --server http://127.0.0.1:8000; or https:// where the server has a certificate",
        )


def _checked(token: str, where: str) -> str:
    if not token or len(token) > _MAX_TOKEN_BYTES or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("That is no token.", where=where, hint="`model-garden tokens create NAME` makes one, there")
    return token

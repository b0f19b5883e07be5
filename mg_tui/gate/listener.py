"""Where a server listens, and what is refused there."""

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mg_tui.core.errors import EnvironmentProblem, UsageError

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True, slots=True)
class Listener:
    """An address to listen on.

    Attributes:
        host, port: the address; port 0 takes a free one.
        tls_cert, tls_key: PEM files, for HTTPS.
        behind_proxy: a proxy in front of it ends TLS; then every request needs a token, as all come from the proxy.
        allowed_hosts: names in the Host header beside the address itself and, on a loopback address, localhost.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False
    allowed_hosts: tuple[str, ...] = ()

    @property
    def is_loopback(self) -> bool:
        """Whether only processes of this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def needs_token(self) -> bool:
        """Whether every caller needs a token."""
        return self.behind_proxy or not self.is_loopback

    @property
    def hosts(self) -> frozenset[str]:
        """What a Host header may name, lower case and without the port."""
        own = LOOPBACK_NAMES if self.is_loopback else ()
        names = frozenset(name.lower().strip("[]") for name in (*own, self.host, *self.allowed_hosts))
        return names - _WILDCARDS

    def url(self, port: int | None = None) -> str:
        """Its address, with the port that it got."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port if port is None else port}"


def check_listener(listener: Listener) -> None:
    """Refuse an address where a token would cross the network in the clear.

    Raises:
        UsageError: it is no loopback address, and there is neither TLS nor a proxy; or half of a key pair is missing.
        EnvironmentProblem: a file of the key pair cannot be read.
    """
    if (listener.tls_cert is None) != (listener.tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together.", hint="give both PEM files, or neither")
    for file in (listener.tls_cert, listener.tls_key):
        if file is not None and not file.is_file():
            raise EnvironmentProblem("Cannot read a file of the TLS key pair.", where=str(file), why="no such file")
    if not listener.is_loopback and listener.tls_cert is None and not listener.behind_proxy:
        raise UsageError(
            f"Cannot listen on {listener.host} without TLS.",
            why="anyone on the network could read the tokens",
            hint="give --tls-cert and --tls-key, or --behind-proxy if a proxy ends TLS; an SSH tunnel to 127.0.0.1 "
            "needs neither",
        )
    if not listener.hosts:
        raise UsageError(
            f"--host {listener.host} needs --allow-host NAME.",
            why="requests are accepted only under names that are known",
            hint="--allow-host garden.example.org",
        )


def open_socket(listener: Listener) -> socket.socket:
    """A listening socket.

    Raises:
        EnvironmentProblem: the address is in use, or not of this machine.
    """
    host = "127.0.0.1" if listener.host == "localhost" else listener.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, because asyncio sends small answers at once (TCP_NODELAY) only where it is: otherwise the
    # body of an answer waits for the acknowledgement of its headers, which kernels delay by 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, listener.port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise EnvironmentProblem(
            f"Cannot listen on {listener.host}:{listener.port}.", why=why, hint="choose another --port"
        ) from error
    return listening

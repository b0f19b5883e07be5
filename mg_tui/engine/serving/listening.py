"""Where a server listens: the gate in front of the application, in a thread of its own."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError
from mg_tui.core.serve_spec import ServeSpec
from mg_tui.gate import AccessRule, Gate, GateLimits, Listener, TokenStore, serve

MAX_BODY_BYTES: Final = 64 * 2**20  # of a request with its images
BODY_SECONDS: Final = 60.0
_OPENAI_PATHS: Final = ("/v1/",)
_START_SECONDS: Final = 30.0

RULES: Final = (
    AccessRule("GET", "/metrics", "read"),
    AccessRule("GET", "/v1/models", "read"),
    AccessRule("GET", "/v1/models/{name}", "read"),
    AccessRule("POST", "/v1/chat/completions", "run", max_body=MAX_BODY_BYTES, body_seconds=BODY_SECONDS),
)


def require_free_port(listener: Listener) -> None:
    """See that the port is free, before a model is loaded.

    Raises:
        EnvironmentProblem: another process listens there; it is named where that can be known.
    """
    host = "127.0.0.1" if listener.host == "localhost" else listener.host
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, listener.port))
        except OSError as error:
            holder = port_holder(listener.port)
            raise EnvironmentProblem(
                f"Cannot listen on {listener.host}:{listener.port}.",
                why=f"{error.strerror}: {holder}" if holder else error.strerror,
                hint="choose another --port, or 0 for any free one; `model-garden servers` lists our own",
            ) from error


def port_holder(port: int) -> str | None:
    """Which process listens on a port, for people; None when it is not known."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()}) has it"
    except (psutil.Error, OSError):
        pass
    return None


def limits_for(spec: ServeSpec) -> GateLimits:
    """Limits of the gate: how many requests wait is the engine's business, which refuses with 429 itself."""
    at_once = spec.queue + 512
    return GateLimits(
        requests_per_second=500.0,
        burst=2_000,
        requests_at_once=at_once,
        requests_at_once_per_caller=at_once,
        stall_seconds=60.0,
    )


class ListeningThread:
    """Serves an application behind the gate until `stop`.

    Args:
        app: the application.
        home: where tokens are.
        listener: where.
        limits: of the gate.
    """

    def __init__(self, app: Any, home: Path, listener: Listener, limits: GateLimits):
        self.url = ""
        self.error: BaseException | None = None
        gate = Gate(
            app, rules=RULES, tokens=TokenStore(home), listener=listener, limits=limits, openai_paths=_OPENAI_PATHS
        )
        self._ready = threading.Event()
        self._stopping = threading.Event()

        def work() -> None:
            try:
                serve(gate, listener, limits=limits, on_ready=self._on_ready, stop_when=self._stopping.is_set)
            except BaseException as error:
                self.error = error
            finally:
                self._ready.set()

        self._thread = threading.Thread(target=work, name="http", daemon=True)

    def start(self) -> str:
        """Begin to listen; returns the address.

        Raises:
            GardenError: the address cannot be used.
        """
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise EnvironmentProblem("The server did not begin to listen.", why=f"not within {_START_SECONDS:g} s")
        if self.error is not None:
            raise self.error if isinstance(self.error, GardenError) else RuntimeError("no server") from self.error
        return self.url

    @property
    def alive(self) -> bool:
        """Whether it listens."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop listening; requests under way are cut off after a moment."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=15)

    def _on_ready(self, url: str) -> None:
        self.url = url
        self._ready.set()


def call_on_loopback(
    app: Any, home: Path, main: Listener, url: str, limits: GateLimits, call: Callable[[str], None]
) -> None:
    """Call with an address that this process can ask without a token: the server's own, or one for the moment.

    Raises:
        GardenError: the loopback address cannot be used.
    """
    if not main.needs_token and main.tls_cert is None:
        call(url)
        return
    private = ListeningThread(app, home, Listener("127.0.0.1", 0), limits)
    try:
        call(private.start())
    finally:
        private.stop()

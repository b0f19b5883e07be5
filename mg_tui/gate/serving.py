"""Starts uvicorn: one process, our limits, a quick shutdown."""

import logging
import sys
from collections.abc import Callable
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.gate.descriptors import ACCEPTED_AT_ONCE, LoopProblems, fit_descriptors
from mg_tui.gate.limits import GateLimits
from mg_tui.gate.listener import Listener, check_listener, open_socket

_SHUTDOWN_SECONDS: Final = 1  # for requests under way; followers are cut off
_KEEP_ALIVE_SECONDS: Final = 5
_NOT_YET_ACCEPTED: Final = 1024  # connections that the kernel holds meanwhile


def serve(
    app: Any,
    listener: Listener,
    *,
    limits: GateLimits | None = None,
    on_ready: Callable[[str], None],
    stop_when: Callable[[], bool] = lambda: False,
) -> None:
    """Serve an ASGI application, a `Gate`, until SIGTERM, SIGINT or `stop_when`.

    Args:
        app: the application.
        listener: where.
        limits: those of the gate.
        on_ready: called with the address, including the port, once connections are accepted.
        stop_when: asked ten times a second; true ends the server.

    Raises:
        UsageError: the address is refused; see `check_listener`.
        EnvironmentProblem: the address cannot be used.
    """
    check_listener(listener)
    listening = open_socket(listener)
    try:
        server = _make_server(app, listener, fit_descriptors(limits or GateLimits()), stop_when)
        port = listening.getsockname()[1]
        server.announce = lambda: on_ready(listener.url(port))
        server.run(sockets=[listening])
    finally:
        listening.close()


def _make_server(app: Any, listener: Listener, limits: GateLimits, stop_when: Callable[[], bool]) -> Any:
    import ssl

    import uvicorn

    from mg_tui.gate.connections import connection_class

    _log_to_stderr()
    config = uvicorn.Config(
        app,
        http=connection_class(limits),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=ACCEPTED_AT_ONCE,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=limits.head_bytes,
        ssl_certfile=None if listener.tls_cert is None else str(listener.tls_cert),
        ssl_keyfile=None if listener.tls_key is None else str(listener.tls_key),
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise EnvironmentProblem(
            "Cannot use the TLS key pair.", where=str(listener.tls_cert), why=getattr(error, "reason", None)
        ) from error
    return _server_class()(config, stop_when)


def _server_class() -> Any:
    import asyncio

    import uvicorn

    class GateServer(uvicorn.Server):
        """uvicorn's server, which says when it is ready and ends by returning, not by repeating the signal."""

        def __init__(self, config: uvicorn.Config, stop_when: Callable[[], bool]):
            super().__init__(config)
            self.announce: Callable[[], None] = lambda: None
            self._stop_when = stop_when

        async def startup(self, sockets: Any = None) -> None:
            asyncio.get_running_loop().set_exception_handler(LoopProblems())
            await super().startup(sockets)
            for listening in sockets or ():
                listening.listen(_NOT_YET_ACCEPTED)
            if self.started:
                self.announce()

        async def on_tick(self, counter: int) -> bool:
            return await super().on_tick(counter) or self._stop_when()

        def handle_exit(self, sig: int, frame: Any) -> None:
            self.force_exit = self.should_exit
            self.should_exit = True

    return GateServer


def _log_to_stderr() -> None:
    """Failures of requests go to standard error; uvicorn's own words about connections nowhere."""
    logging.getLogger("uvicorn.error").disabled = True
    logging.getLogger("uvicorn.access").disabled = True
    log = logging.getLogger("mg_tui.gate")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.propagate = False

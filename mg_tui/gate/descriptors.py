"""How many connections the limit on open files allows, and what happens when there are no more descriptors."""

import dataclasses
import errno
import logging
import resource
import time
from typing import TYPE_CHECKING, Any, Final

from mg_tui.gate.limits import GateLimits

if TYPE_CHECKING:
    import asyncio

ACCEPTED_AT_ONCE: Final = 64  # connections that the event loop accepts before it looks at those it has
_FILES: Final = 128  # descriptors for everything else: journals, logs, images, processes that start
_FEWEST: Final = 16
_USED_UP: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_LOG_SECONDS: Final = 60.0

_log = logging.getLogger("mg_tui.gate")


def fit_descriptors(limits: GateLimits) -> GateLimits:
    """Raise this process's limit on open files as far as `limits` need and the system allows; the limits that fit."""
    needed = limits.connections + ACCEPTED_AT_ONCE + _FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        needed = allowed
    fitting = max(_FEWEST, needed - ACCEPTED_AT_ONCE - _FILES)
    return dataclasses.replace(limits, connections=min(limits.connections, fitting))


class LoopProblems:
    """An event loop's handler of problems. asyncio reports each connection that it could not accept, with a traceback;
    this says it once a minute, in a sentence.
    """

    def __init__(self) -> None:
        self._said = -_LOG_SECONDS

    def __call__(self, loop: "asyncio.AbstractEventLoop", context: dict[str, Any]) -> None:
        """Handle a problem; see `asyncio.AbstractEventLoop.set_exception_handler`."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _USED_UP and "socket" in context):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._said >= _LOG_SECONDS:
            self._said = time.monotonic()
            _log.error("no connection is accepted for a second: %s", error.strerror)

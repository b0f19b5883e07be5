"""An engine process that answers one request, as server-sent events: it ends when the caller leaves."""

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from mg_tui.api.garden import Garden
from mg_tui.core.errors import EnvironmentProblem, GardenError
from mg_tui.core.events import json_safe
from mg_tui.runs.engine_process import INTERMEDIATE_EVENTS, EngineCrashed, EngineProcess

EngineRequest = tuple[str, Mapping[str, Any]]
_PING_SECONDS: Final = 15.0
_log = logging.getLogger("mg_tui.gate")


async def stream_engine(garden: Garden, program: str, requests: Sequence[EngineRequest]) -> AsyncIterator[bytes]:
    """Send requests to an engine program, one after the other; the reply to the last one is the event `result`.

    Events before it have the engine's names (`notice`, `progress`, `text`); `error` ends the stream as well. Only
    `what`, `why` and `hint` of an error are told, without paths outside the roots. Returns once the process has
    started, so that what keeps it from that is an error of the request.

    Raises:
        ApiError: too many are at work (429).
        EnvironmentProblem: the process cannot be started.
    """
    place = contextlib.ExitStack()
    place.enter_context(garden.engine_place())
    try:
        child = await asyncio.to_thread(EngineProcess, program)
    except OSError as error:
        place.close()
        raise EnvironmentProblem("Cannot start the engine's process.", why=error.strerror) from error
    except BaseException:
        place.close()
        raise
    return _events(garden, program, child, requests, place)


async def _events(
    garden: Garden, program: str, child: EngineProcess, requests: Sequence[EngineRequest], place: contextlib.ExitStack
) -> AsyncIterator[bytes]:
    queue: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(item: tuple[str, Any] | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def work() -> None:
        try:
            for name, values in _talk(child, requests):
                tell((name, values))
        except GardenError as error:
            tell(("error", _error_record(garden, error)))
        except (EngineCrashed, OSError, ValueError) as error:
            _log.error("%s failed: %s", program, error)
            tell(("error", {"what": "The engine made a mistake; the server's log says which."}))
        finally:
            tell(None)

    threading.Thread(target=work, name="EngineStream", daemon=True).start()
    try:
        while True:
            try:
                item = await asyncio.wait_for(queue.get(), _PING_SECONDS)
            except TimeoutError:
                yield KEEPALIVE_COMMENT
                continue
            if item is None:
                return
            name, values = item
            yield format_sse_event(event=name, data_str=json.dumps(json_safe(values), default=str))
    finally:
        child.terminate()
        threading.Thread(target=child.close, args=(2.0,), daemon=True).start()
        place.close()


def _talk(child: EngineProcess, requests: Sequence[EngineRequest]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the engine says to all requests, and its reply to the last."""
    for index, (op, fields) in enumerate(requests):
        for event in child.stream(op, **fields):
            name = str(event.pop("event"))
            if name in INTERMEDIATE_EVENTS:
                yield name, event
            elif index == len(requests) - 1:
                yield "result", event


def _error_record(garden: Garden, error: GardenError) -> dict[str, str]:
    texts = {"what": error.what, "why": error.why, "hint": error.hint}
    return {name: garden.paths.redact(text) for name, text in texts.items() if text}

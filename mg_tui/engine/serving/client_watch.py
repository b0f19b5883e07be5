"""Waits for an answer as long as its client does, and no longer than its time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mg_tui.engine.serving.answering import AnswerEnd, PendingAnswer, TextPiece


class ClientWatch:
    """Notices when the client of one request goes away.

    Args:
        receive: of the request, whose body has been read.
        deadline: monotonic time in seconds.
    """

    def __init__(self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]], deadline: float):
        self._deadline = deadline
        self._gone = asyncio.ensure_future(_disconnected(receive))

    async def next(self, pending: PendingAnswer) -> TextPiece | AnswerEnd | None:
        """The next event of an answer; None when the client has gone.

        Raises:
            TimeoutError: there was none before the deadline.
            GardenError: of the engine.
        """
        waiting = asyncio.ensure_future(pending.next())
        try:
            left = max(self._deadline - time.monotonic(), 0.0)
            await asyncio.wait({waiting, self._gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            if self._gone.done():
                return None
            raise TimeoutError
        finally:
            waiting.cancel()

    def close(self) -> None:
        """Stop watching."""
        self._gone.cancel()


async def _disconnected(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

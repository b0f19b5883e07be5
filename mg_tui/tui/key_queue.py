"""Keys one after the other: each is handled in full before the next one is delivered.

Textual sends a key to the widget that has the focus when the key is read, and handles it later. Of several keys that
arrive in one read (a stalled link, a macro, `tmux send-keys`) all would go to the widget that had the focus before the
first: the letters typed after `/` would run as commands. The queue waits until a key was handled and the focus or the
screen that it moved is in place. A single key is delivered at once.
"""

import asyncio
import time
from collections import deque
from typing import Any, Final

from textual import events
from textual.app import App
from textual.message import Message
from textual.message_pump import MessagePump

_ROUNDS: Final = 2  # what a handler posts to its own widget is behind the first barrier
_MAX_ROUNDS: Final = 8
_POLL_SECONDS: Final = 0.05
_PATIENCE: Final = 10.0  # seconds that one key may take before the next is delivered anyway

TypedEvent = events.Key | events.Paste


class KeyBarrier(Message, verbose=True):
    """Bubbles from the focused widget to the application, behind everything sent before it."""

    def __init__(self, passed: asyncio.Event) -> None:
        super().__init__()
        self.passed = passed


class KeyQueue:
    """What was typed and is not delivered yet."""

    def __init__(self, app: App[Any]) -> None:
        self._app = app
        self._waiting: deque[TypedEvent] = deque()
        self._admitted: TypedEvent | None = None
        self._task: asyncio.Task[None] | None = None
        self._held_until = 0.0
        self._closed = False

    def admits(self, event: TypedEvent) -> bool:
        """Whether to deliver `event` now; otherwise it is delivered later, or never once the queue is closed."""
        if self._closed:
            return False
        if event is self._admitted:
            self._admitted = None
            return True
        if self._task is not None:
            self._waiting.append(event)
            return False
        self._task = asyncio.create_task(self._deliver(), name="keys")
        return True

    def close(self) -> None:
        """Deliver nothing more: the dashboard ends."""
        self._closed = True
        self._waiting.clear()

    def hold(self, seconds: float) -> None:
        """Deliver nothing until the focus or the screen changes, `release` is called, or the seconds are over.

        For an action that opens something by way of a thread.
        """
        self._held_until = time.monotonic() + seconds

    def release(self) -> None:
        """End `hold`."""
        self._held_until = 0.0

    async def _deliver(self) -> None:
        """Wait for the key that was just delivered, then deliver the waiting ones."""
        try:
            await self._settle()
            while self._waiting and not self._closed:
                event = self._admitted = self._waiting.popleft()
                self._app.post_message(event)
                await self._settle()
        finally:
            self._task = None

    async def _settle(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        before = self._focus()
        await self._pass(self._app, deadline)
        rounds = 0
        while rounds < _MAX_ROUNDS and time.monotonic() < deadline and not self._closed:
            focus = self._focus()
            await self._pass(focus[1] or focus[0] or self._app, deadline)
            rounds += 1
            if focus != self._focus():
                rounds = 0
            elif rounds >= _ROUNDS:
                if focus != before:
                    self.release()
                if time.monotonic() >= self._held_until:
                    return
                await asyncio.sleep(_POLL_SECONDS / 5)
                rounds = 0

    def _focus(self) -> tuple[MessagePump | None, MessagePump | None]:
        """The current screen, and its widget that has the focus."""
        stack = self._app._screen_stack
        return (stack[-1], stack[-1].focused) if stack else (None, None)

    async def _pass(self, start: MessagePump, deadline: float) -> None:
        """Wait until all messages sent so far to `start` and its ancestors were handled."""
        passed = asyncio.Event()
        if not start.post_message(KeyBarrier(passed)):
            await asyncio.sleep(0)  # it is being removed
            return
        while time.monotonic() < deadline:
            try:
                await asyncio.wait_for(passed.wait(), _POLL_SECONDS)
            except TimeoutError:
                if self._closed or not start.is_running or start not in (*self._focus(), self._app):
                    return  # it was removed, and the barrier with it
            else:
                return

"""Coalesces updates of several feeds into one redraw: over a network each change of the screen costs a message."""

import time
from collections.abc import Callable

from textual.app import App


class UpdateCoalescer:
    """At most one flush per period, of everything that is due; of several updates with one key, the last is drawn."""

    def __init__(self, app: App[None], period: Callable[[], float]) -> None:
        """`period` returns the least seconds between two flushes."""
        self._app, self._period = app, period
        self._due: dict[object, Callable[[], None]] = {}
        self._last_flush = 0.0

    def schedule(self, key: object, draw: Callable[[], None], *, at_once: bool = False) -> None:
        """Call `draw` now when nothing was drawn for a period, or with `at_once`; else with the next flush."""
        if at_once:
            draw()
            return
        scheduled = bool(self._due)
        self._due[key] = draw
        if scheduled:
            return
        seconds = self._last_flush + self._period() - time.monotonic()
        if seconds <= 0:
            self._flush()
        else:
            self._app.set_timer(seconds, self._flush)

    def _flush(self) -> None:
        due, self._due = self._due, {}
        self._last_flush = time.monotonic()
        for draw in due.values():
            draw()

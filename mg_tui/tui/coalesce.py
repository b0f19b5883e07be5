"""Draws what came from several feeds together: a change of the screen costs a message over the network each time."""

import time
from collections.abc import Callable

from textual.app import App


class UpdateCoalescer:
    """At most one drawing a period, of everything that is due; what is due twice is drawn once, as it is then."""

    def __init__(self, app: App[None], period: Callable[[], float]) -> None:
        """`period` gives the least seconds between two drawings."""
        self._app, self._period = app, period
        self._due: dict[object, Callable[[], None]] = {}
        self._last_flush = 0.0

    def schedule(self, key: object, draw: Callable[[], None], *, at_once: bool = False) -> None:
        """Have `draw` called: at once when nothing was drawn for a period or it is waited for, else with the next."""
        if at_once:
            draw()
            return
        waiting = bool(self._due)
        self._due[key] = draw
        if waiting:
            return
        left = self._last_flush + self._period() - time.monotonic()
        if left <= 0:
            self._flush()
        else:
            self._app.set_timer(left, self._flush)

    def _flush(self) -> None:
        due, self._due = self._due, {}
        self._last_flush = time.monotonic()
        for draw in due.values():
            draw()

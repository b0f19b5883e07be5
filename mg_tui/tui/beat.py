"""Draws what came from several feeds together: a change of the screen costs a message over the network each time."""

import time
from collections.abc import Callable

from textual.app import App


class Beat:
    """At most one drawing a period, of everything that is due; what is due twice is drawn once, as it is then."""

    def __init__(self, app: App[None], period: Callable[[], float]) -> None:
        """`period` gives the least seconds between two drawings."""
        self._app, self._period = app, period
        self._due: dict[object, Callable[[], None]] = {}
        self._drawn = 0.0

    def call(self, key: object, draw: Callable[[], None], *, at_once: bool = False) -> None:
        """Have `draw` called: at once when nothing was drawn for a period or it is waited for, else with the next."""
        if at_once:
            draw()
            return
        waiting = bool(self._due)
        self._due[key] = draw
        if waiting:
            return
        left = self._drawn + self._period() - time.monotonic()
        if left <= 0:
            self._draw()
        else:
            self._app.set_timer(left, self._draw)

    def _draw(self) -> None:
        due, self._due = self._due, {}
        self._drawn = time.monotonic()
        for draw in due.values():
            draw()

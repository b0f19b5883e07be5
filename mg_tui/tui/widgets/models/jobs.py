"""A job in the background: what it does, for how long, and how it ended."""

import time

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import words
from mg_tui.tui.draw import meter
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, fit, line


class JobLine(Lines):
    """One line while there is a job; none otherwise. The time goes on once a second."""

    DEFAULT_CSS = """
    JobLine { height: 1; padding: 0 1; background: $panel; display: none; }
    JobLine.-on { display: block; }
    """
    said: reactive[str] = reactive("", repaint=False)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._what = ""
        self._share: float | None = None
        self._began: float | None = None

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)

    @property
    def going_on(self) -> bool:
        """Whether there is a job."""
        return self._began is not None

    def begin(self, what: str) -> None:
        """A job begins."""
        self._what, self._share, self._began = one_line(what, limit=200), None, time.monotonic()
        self.said = ""
        self.add_class("-on")
        self.redraw()

    def progress(self, said: str, share: float | None = None) -> None:
        """What it is at; `share` of one that is done, None when that cannot be told."""
        self._share = share
        self.said = one_line(said, limit=200)
        self.redraw()

    def over(self) -> None:
        """The job ended; whoever ran it says how."""
        self._began = None
        self.remove_class("-on")

    def _tick(self) -> None:
        if self.going_on and self.screen.is_current:
            self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self._began is None:
            return [Content()]
        parts: list[Content | str | tuple[str, str]] = [("▶ ", tone("running")), (self._what, "bold")]
        if self._share is not None:
            filled, rest = meter(self._share, 16)
            parts += ["  ", (filled, tone("running")), (rest, tone("track")), f" {words.percent(self._share):>4}"]
        parts += [(f"  {words.duration(time.monotonic() - self._began)}", tone("dim")), f"  {self.said}"]
        return [fit(line(*parts), width)]

"""A job in the background: title, progress, and time."""

import time

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.text_charts import meter
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, fit, line


class JobLine(Lines):
    """One line while there is a job; hidden otherwise. The time is updated once a second."""

    DEFAULT_CSS = """
    JobLine { height: 1; padding: 0 1; background: $panel; display: none; }
    JobLine.-on { display: block; }
    """
    status_text: reactive[str] = reactive("", repaint=False)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._title = ""
        self._share: float | None = None
        self._started_at: float | None = None

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)

    @property
    def active(self) -> bool:
        """Whether there is a job."""
        return self._started_at is not None

    def start(self, title: str) -> None:
        """A job starts."""
        self._title, self._share, self._started_at = one_line(title, limit=200), None, time.monotonic()
        self.status_text = ""
        self.add_class("-on")
        self.redraw()

    def progress(self, status_text: str, share: float | None = None) -> None:
        """Show the status of the job; `share`: how much is done, None when unknown."""
        self._share = share
        self.status_text = one_line(status_text, limit=200)
        self.redraw()

    def finish(self) -> None:
        """The job ended."""
        self._started_at = None
        self.remove_class("-on")

    def _tick(self) -> None:
        if self.active and self.screen.is_current:
            self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self._started_at is None:
            return [Content()]
        parts: list[Content | str | tuple[str, str]] = [("▶ ", tone("running")), (self._title, "bold")]
        if self._share is not None:
            filled, rest = meter(self._share, 16)
            parts += ["  ", (filled, tone("running")), (rest, tone("track")), f" {formatting.percent(self._share):>4}"]
        parts += [
            (f"  {formatting.duration(time.monotonic() - self._started_at)}", tone("dim")),
            f"  {self.status_text}",
        ]
        return [fit(line(*parts), width)]

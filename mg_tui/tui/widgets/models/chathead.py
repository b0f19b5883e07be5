"""The line above a chat: which model it is, and what it is doing."""

from collections.abc import Mapping
from time import monotonic
from typing import Any

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import words
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, line, spread
from mg_tui.tui.widgets.models.found import ModelRow
from mg_tui.tui.widgets.models.rows import kind_text


class ChatHead(Lines):
    """Which model it is, and what it is doing."""

    DEFAULT_CSS = """
    ChatHead { height: 1; padding: 0 1; background: $surface; }
    """
    state: reactive[str] = reactive("loading", repaint=False)
    ready: reactive[Mapping[str, Any] | None] = reactive(None, repaint=False)

    def __init__(self, row: ModelRow) -> None:
        super().__init__()
        self._row = row
        self._since = monotonic()

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)

    def _tick(self) -> None:
        if self.state != "ready" and self.screen.is_current:
            self.redraw()

    def watch_state(self) -> None:
        self._since = monotonic()
        self.redraw()

    def watch_ready(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        left = line(kind_text(self._row), "  ", (self._row.title, "bold"))
        return [spread(left, self._right(), width)]

    def _right(self) -> Content:
        seconds = words.duration(monotonic() - self._since)
        if self.state == "loading":
            return line(("▶ ", tone("running")), f"loading … {seconds}")
        if self.state == "answering":
            return line(("▶ ", tone("running")), f"answering … {seconds}")
        if self.state == "failed" or self.ready is None:
            return Content.styled("not loaded", tone("failed"))
        how = [str(self.ready[key]) for key in ("device", "dtype", "quantization") if self.ready.get(key) != "none"]
        return line(("✓ ready", tone("finished")), ("  " + one_line(" ".join(how), limit=60), tone("dim")))

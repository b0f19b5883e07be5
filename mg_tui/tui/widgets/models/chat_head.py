"""The line above a chat: the model and its state."""

from collections.abc import Mapping
from time import monotonic
from typing import Any

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.models.catalog import ModelRow
from mg_tui.tui.models.chat_memory import DEFAULT_SAMPLING, ChatSampling
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, justify, line
from mg_tui.tui.widgets.models.model_table import kind_text


class ChatHead(Lines):
    """The model and its state."""

    DEFAULT_CSS = """
    ChatHead { height: 1; padding: 0 1; background: $surface; }
    """
    state: reactive[str] = reactive("loading", repaint=False)
    model_info: reactive[Mapping[str, Any] | None] = reactive(None, repaint=False)

    sampling: reactive[ChatSampling] = reactive(DEFAULT_SAMPLING, repaint=False)

    def __init__(self, row: ModelRow) -> None:
        super().__init__()
        self._model = row
        self._state_since = monotonic()

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)

    def _tick(self) -> None:
        if self.state != "ready" and self.screen.is_current:
            self.redraw()

    def watch_state(self) -> None:
        self._state_since = monotonic()
        self.redraw()

    def watch_model_info(self) -> None:
        self.redraw()

    def watch_sampling(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        left = line(kind_text(self._model), "  ", (self._model.title, "bold"))
        if self.sampling != DEFAULT_SAMPLING:
            left = line(left, (f"  {self.sampling.as_text()}", tone("eval")))
        return [justify(left, self._right(), width)]

    def _right(self) -> Content:
        seconds = formatting.duration(monotonic() - self._state_since)
        if self.state == "loading":
            return line(("▶ ", tone("running")), f"loading … {seconds}")
        if self.state == "answering":
            return line(("▶ ", tone("running")), f"answering … {seconds}")
        if self.state == "failed" or self.model_info is None:
            return Content.styled("not loaded", tone("failed"))
        details = [
            str(self.model_info[key])
            for key in ("device", "dtype", "quantization")
            if self.model_info.get(key) != "none"
        ]
        return line(("✓ ready", tone("finished")), ("  " + one_line(" ".join(details), limit=60), tone("dim")))

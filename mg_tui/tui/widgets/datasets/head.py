"""The top of a dataset's screen: what it was taken for and how sure that is, how its rows are read, what is shown."""

from dataclasses import dataclass
from typing import Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import words
from mg_tui.tui.draw import meter
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.datasets.opened import Opened
from mg_tui.tui.widgets.lines import Lines, fit, joined, line, spread

# How sure the recognition is: glyph and tone.
CERTAINTIES: Final = {"sure": ("✓", "finished"), "likely": ("≈", "eval"), "guess": ("?", "failed")}


@dataclass(frozen=True, slots=True)
class HeadState:
    """What the head says; `share` is of the index, `shown` the rows shown when not all are, `only` why not all;
    `failed`: it cannot be opened."""

    opened: Opened | None = None
    share: float = 0.0
    total: int | None = None
    known: int = 0
    only: str = ""
    shown: int | None = None
    looking: bool = False
    failed: bool = False


class DataHead(Lines):
    """Two lines."""

    DEFAULT_CSS = """
    DataHead { height: 2; padding: 0 1; background: $surface; }
    """
    state: reactive[HeadState] = reactive(HeadState(), repaint=False)

    def watch_state(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        state = self.state
        if state.opened is None:
            said = (
                Content.styled("✗ not open", tone("failed"))
                if state.failed
                else Content.styled("opening …", tone("dim"))
            )
            return [said, Content()]
        return [spread(_recognised(state.opened, width), self._rows(), width), self._second(state, width)]

    def _rows(self) -> Content:
        state = self.state
        if state.total is not None:
            return Content.styled(f"{state.total:,} {'row' if state.total == 1 else 'rows'}", "bold")
        filled, rest = meter(state.share, 8)
        known = f"{state.known:,} rows so far  " if state.known else ""
        return line(
            (known, tone("dim")), (filled, tone("running")), (rest, tone("track")), f" {words.percent(state.share)}"
        )

    def _second(self, state: HeadState, width: int) -> Content:
        if state.only:
            found = words.count(state.shown or 0, "row") + (" so far …" if state.looking else "")
            said = line(("only ", tone("eval")), (state.only, "bold"), f"  {found}", ("   esc shows all", tone("dim")))
            return fit(said, width)
        assert state.opened is not None
        parts = [
            line((f"{purpose} ", tone("dim")), one_line(name, limit=40))
            for name, purpose in reversed(list(state.opened.purposes().items()))
        ]
        return joined([*parts, line(("m changes it", tone("faint")))], width)


def _recognised(opened: Opened, width: int) -> Content:
    from mg_tui.data.sources.base import FORMATS
    from mg_tui.data.sources.layouts import LAYOUTS

    known, reading = opened.recognised, opened.reading
    chosen = reading.format is not None or reading.layout is not None
    glyph, style = ("▣", "key") if chosen else CERTAINTIES[known.certainty]
    how = "as you chose" if chosen else known.certainty
    why = "" if chosen else f": {one_line(known.why, limit=200)}"
    name = FORMATS.get(opened.source.format, opened.source.format)
    layout = LAYOUTS.get(opened.layout, opened.layout)
    parts = line((name, "bold"), " · ", (layout if width >= 100 else opened.layout, "bold"))
    return line(parts, "  ", (f"{glyph} {how}", tone(style)), (why, tone("dim")))

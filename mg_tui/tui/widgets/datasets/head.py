"""The top of a dataset's screen: what it was taken for and how sure that is, how its rows are read, what is shown."""

from dataclasses import dataclass
from typing import Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.datasets.open_dataset import OpenDataset
from mg_tui.tui.text_charts import meter
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, fit, join_fitting, justify, line

# How sure the recognition is: glyph and tone.
CERTAINTIES: Final = {"sure": ("✓", "finished"), "likely": ("≈", "eval"), "guess": ("?", "failed")}


@dataclass(frozen=True, slots=True)
class DatasetHeadState:
    """What the head says; `share` is of the index, `shown` the rows shown when not all are, `only` why not all;
    `failed`: it cannot be opened."""

    dataset: OpenDataset | None = None
    index_share: float = 0.0
    row_count: int | None = None
    known_rows: int = 0
    filter_text: str = ""
    shown_rows: int | None = None
    searching: bool = False
    failed: bool = False


class DatasetHead(Lines):
    """Two lines."""

    DEFAULT_CSS = """
    DatasetHead { height: 2; padding: 0 1; background: $surface; }
    """
    state: reactive[DatasetHeadState] = reactive(DatasetHeadState(), repaint=False)

    def watch_state(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        state = self.state
        if state.dataset is None:
            said = (
                Content.styled("✗ not open", tone("failed"))
                if state.failed
                else Content.styled("opening …", tone("dim"))
            )
            return [said, Content()]
        return [justify(_format_line(state.dataset, width), self._rows(), width), self._second(state, width)]

    def _rows(self) -> Content:
        state = self.state
        if state.row_count is not None:
            return Content.styled(f"{state.row_count:,} {'row' if state.row_count == 1 else 'rows'}", "bold")
        filled, rest = meter(state.index_share, 8)
        known = f"{state.known_rows:,} rows so far  " if state.known_rows else ""
        return line(
            (known, tone("dim")),
            (filled, tone("running")),
            (rest, tone("track")),
            f" {formatting.percent(state.index_share)}",
        )

    def _second(self, state: DatasetHeadState, width: int) -> Content:
        if state.filter_text:
            found = formatting.count(state.shown_rows or 0, "row") + (" so far …" if state.searching else "")
            said = line(
                ("only ", tone("eval")), (state.filter_text, "bold"), f"  {found}", ("   esc shows all", tone("dim"))
            )
            return fit(said, width)
        assert state.dataset is not None
        parts = [
            line((f"{purpose} ", tone("dim")), one_line(name, limit=40))
            for name, purpose in reversed(list(state.dataset.field_purposes().items()))
        ]
        return join_fitting([*parts, line(("m changes it", tone("faint")))], width)


def _format_line(opened: OpenDataset, width: int) -> Content:
    from mg_tui.data.sources.base import FORMATS
    from mg_tui.data.sources.layouts import LAYOUTS

    known, reading = opened.recognised, opened.options
    chosen = reading.format is not None or reading.layout is not None
    glyph, style = ("▣", "key") if chosen else CERTAINTIES[known.certainty]
    how = "as you chose" if chosen else known.certainty
    why = "" if chosen else f": {one_line(known.why, limit=200)}"
    name = FORMATS.get(opened.source.format, opened.source.format)
    layout = LAYOUTS.get(opened.layout, opened.layout)
    parts = line((name, "bold"), " · ", (layout if width >= 100 else opened.layout, "bold"))
    return line(parts, "  ", (f"{glyph} {how}", tone(style)), (why, tone("dim")))

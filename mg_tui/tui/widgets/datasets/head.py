"""The top of a dataset's screen: detected format and certainty, the use of its fields, and the filter."""

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

# Glyph and tone of each certainty of the detection.
CERTAINTIES: Final = {"sure": ("✓", "finished"), "likely": ("≈", "eval"), "guess": ("?", "failed")}


@dataclass(frozen=True, slots=True)
class DatasetHeadState:
    """What the head shows.

    Attributes:
        dataset: None before it is open.
        index_share: share of the dataset that is indexed.
        row_count: number of rows; None before it is known.
        known_rows: rows read so far, while `row_count` is None.
        filter_text: which rows are shown when not all are; empty when all are.
        shown_rows: how many rows match the filter.
        searching: whether more rows may match.
        failed: the dataset cannot be opened.
    """

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
            status = ("✗ not open", "failed") if state.failed else ("opening …", "dim")
            return [Content.styled(status[0], tone(status[1])), Content()]
        second = _filter_line(state, width) if state.filter_text else _fields_line(state.dataset, width)
        return [justify(_format_line(state.dataset, width), self._rows(), width), second]

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


def _filter_line(state: DatasetHeadState, width: int) -> Content:
    count = formatting.count(state.shown_rows or 0, "row") + (" so far …" if state.searching else "")
    parts = line(("only ", tone("eval")), (state.filter_text, "bold"), f"  {count}", ("   esc shows all", tone("dim")))
    return fit(parts, width)


def _fields_line(dataset: OpenDataset, width: int) -> Content:
    parts = [
        line((f"{purpose} ", tone("dim")), one_line(name, limit=40))
        for name, purpose in reversed(list(dataset.field_purposes().items()))
    ]
    return join_fitting([*parts, line(("m to change", tone("faint")))], width)


def _format_line(dataset: OpenDataset, width: int) -> Content:
    from mg_tui.data.sources.base import FORMATS
    from mg_tui.data.sources.layouts import LAYOUTS

    detected = dataset.detected
    chosen = "dataset_format" in dataset.options or "dataset_layout" in dataset.options
    glyph, style = ("▣", "key") if chosen else CERTAINTIES[detected.certainty]
    certainty = "set by you" if chosen else detected.certainty
    why = "" if chosen else f": {one_line(detected.why, limit=200)}"
    name = FORMATS.get(dataset.source.format, dataset.source.format)
    layout = LAYOUTS.get(dataset.layout, dataset.layout)
    parts = line((name, "bold"), " · ", (layout if width >= 100 else dataset.layout, "bold"))
    return line(parts, "  ", (f"{glyph} {certainty}", tone(style)), (why, tone("dim")))

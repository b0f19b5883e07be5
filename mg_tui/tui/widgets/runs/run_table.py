"""The table of runs, and the preview of the selected one."""

from collections.abc import Sequence
from dataclasses import replace
from time import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.run_columns import DEFAULT_RUN_COLUMNS, RUN_COLUMNS_BY_KEY
from mg_tui.core.text import one_line
from mg_tui.runs.state import RunState
from mg_tui.tui import formatting
from mg_tui.tui.text_charts import meter, sparkline
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.chart import ChartLine, Plot, draw_plot
from mg_tui.tui.widgets.lines import Lines, fit, line
from mg_tui.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from mg_tui.tui.runs.snapshot import RunRow

MARKED_GLYPH: Final = "●"


def state_text(state: RunState, *styles: str) -> Content:
    """A state as its glyph and its word, in its color."""
    return Content.styled(f"{state.glyph} {state.label}", tone(state.value, *styles))


def progress_cell(row: "RunRow", width: int) -> Content:
    """A bar with a percentage; before the first step, the phase of the run."""
    if row.queue_position is not None:
        place, held = row.queue_position
        return Content.styled("held" if held else f"number {place}" if width >= 9 else f"#{place}", tone("queued"))
    if row.progress is None or (row.state is RunState.RUNNING and not row.step):
        return Content.styled(row.phase or formatting.DASH, tone("dim"))
    filled, rest = meter(row.progress, max(width - 5, 3))
    return line((filled, tone(row.state.value)), (rest, tone("track")), f" {formatting.percent(row.progress):>4}")


def shorten_middle(text: str, width: int, *, tail: int = 4) -> str:
    """`text` in `width` characters, its last `tail` ones kept: they tell runs without a name apart."""
    return text if len(text) <= width or width < tail + 2 else f"{text[: width - tail - 1]}…{text[-tail:]}"


def format_steps(row: "RunRow") -> str:
    """Completed and total steps."""
    if row.total is None:
        return str(row.step) if row.step else formatting.DASH
    return f"{_short_count(row.step)}/{_short_count(row.total)}"


def _short_count(number: int) -> str:
    if number < 10_000:
        return str(number)
    return f"{number / 1000:.0f}k" if 100_000 <= number < 1_000_000 else formatting.compact(number)


def tags_text(row: "RunRow") -> Content:
    """A run's tags, as they are typed into a filter."""
    return Content.styled(" ".join(f"#{tag}" for tag in row.annotations.tags), tone("key"))


def _column(key: str, width: int, **more: Any) -> Column:
    return Column(key, RUN_COLUMNS_BY_KEY[key].title, width, **more)


class RunTable(Table["RunRow"]):
    """Every run, newest first, with the columns of `mg_tui.core.run_columns` that were chosen."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        _column("state", 10, grow=1, max_width=13),
        _column("name", 15, grow=3, max_width=44),
        _column("progress", 11, grow=1, max_width=26, drop_rank=1),
        _column("step", 9, drop_rank=4, align_right=True),
        _column("loss", 7, drop_rank=2, align_right=True),
        _column("curve", 8, grow=1, max_width=24, drop_rank=5),
        _column("eta", 7, drop_rank=3, align_right=True),
        _column("age", 4, drop_rank=6, align_right=True),
        _column("model", 14, grow=1, max_width=30, drop_rank=7),
        _column("id", 20, grow=1, max_width=44),
        _column("dataset", 14, grow=1, max_width=30),
        _column("eval_loss", 9, align_right=True),
        _column("time", 7, align_right=True),
        _column("cost", 10, align_right=True),
        _column("tags", 10, grow=1, max_width=30),
        _column("note", 14, grow=2, max_width=60),
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.marked: set[str] = set()
        self.chosen: tuple[str, ...] = DEFAULT_RUN_COLUMNS

    @property
    def columns(self) -> Sequence[Column]:
        by_key = {column.key: column for column in self.COLUMNS}
        columns = [by_key[key] for key in self.chosen]
        if self.chosen == DEFAULT_RUN_COLUMNS:
            return columns
        return [replace(column, drop_rank=index) for index, column in enumerate(columns)]

    def choose_columns(self, keys: Sequence[str]) -> None:
        """Show other columns; without any, those shown by default."""
        if (chosen := tuple(keys) or DEFAULT_RUN_COLUMNS) != self.chosen:
            self.chosen = chosen
            self.relayout()

    def key_of(self, row: "RunRow") -> str:
        return row.id

    def cell_of(self, row: "RunRow", key: str, width: int) -> Content:
        match key:
            case "state":
                return state_text(row.state)
            case "name":
                mark = (f"{MARKED_GLYPH} ", tone("key", "bold")) if row.id in self.marked else ""
                room = width - 2 * bool(mark) - 2 * bool(row.problem)
                title = row.title if row.named else shorten_middle(row.title, room)
                return line(mark, title, (" !", tone("failed", "bold")) if row.problem else "")
            case "progress":
                return progress_cell(row, width)
            case "step":
                return Content(format_steps(row))
            case "loss":
                return Content(formatting.loss(row.loss))
            case "curve":
                return Content.styled(sparkline(row.losses, width), tone("spark"))
            case "eta":
                return Content(formatting.duration(row.eta) if row.eta is not None else "")
            case "age":
                return Content.styled(
                    formatting.age(None if row.created_at is None else time() - row.created_at), tone("dim")
                )
            case "model":
                return Content.styled(row.model, tone("dim"))
            case _:
                return _optional_cell(row, key)


def _optional_cell(row: "RunRow", key: str) -> Content:
    """A cell of a column that is not shown by default."""
    match key:
        case "id":
            return Content.styled(row.id, tone("dim"))
        case "dataset":
            return Content.styled(row.dataset, tone("dim"))
        case "eval_loss":
            return Content(formatting.loss(row.eval_loss))
        case "time":
            return Content(formatting.duration(row.elapsed) if row.elapsed is not None else "")
        case "cost":
            return Content(row.cost)
        case "tags":
            return tags_text(row)
        case _:
            return Content(row.annotations.note.partition("\n")[0])


class RunPreview(Lines):
    """The selected run: id, model and status; where there is room, its curve."""

    DEFAULT_CSS = """
    RunPreview { height: 2; background: $surface; padding: 0 1; }
    """
    row: reactive["RunRow | None"] = reactive(None, repaint=False)

    def watch_row(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        row = self.row
        if row is None:
            return [Content()]
        about = line((row.id, "bold"), ("  " + row.model, tone("dim")))
        if row.annotations.tags:
            about = line(about, "  ", tags_text(row))
        if row.problem:
            text = Content.styled(row.problem, tone("failed"))
        else:
            text = line(state_text(row.state), (f"  {row.status_text}" if row.status_text else "", tone("dim")))
        if row.annotations.note:
            text = line(text, ("  ✎ ", tone("key")), one_line(row.annotations.note, limit=200))
        lines = [fit(about, width), fit(text, width)]
        room = self.size.height - 3
        if room >= 4 and not row.losses:
            lines += [Content(), Content.styled("The loss curve appears with the first step.", tone("dim"))]
        elif room >= 4:
            curve = ChartLine("smoothed", row.steps, row.losses, "smooth")
            lines += [Content(), *draw_plot(Plot("Loss", (curve,), float(row.total or 0) or None), width, room)]
        return lines

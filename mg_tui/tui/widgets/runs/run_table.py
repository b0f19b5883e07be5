"""The table of runs, and the preview of the selected one."""

from time import time
from typing import TYPE_CHECKING, ClassVar, Final

from textual.content import Content
from textual.reactive import reactive

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


class RunTable(Table["RunRow"]):
    """Every run, newest first."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("state", "State", 10, grow=1, max_width=13),
        Column("title", "Name", 15, grow=3, max_width=44),
        Column("progress", "Progress", 11, grow=1, max_width=26, drop_rank=1),
        Column("steps", "Step", 9, drop_rank=4, align_right=True),
        Column("loss", "Loss", 7, drop_rank=2, align_right=True),
        Column("curve", "Curve", 8, grow=1, max_width=24, drop_rank=5),
        Column("eta", "ETA", 7, drop_rank=3, align_right=True),
        Column("age", "Age", 4, drop_rank=6, align_right=True),
        Column("model", "Model", 14, grow=1, max_width=30, drop_rank=7),
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.marked: set[str] = set()

    def key_of(self, row: "RunRow") -> str:
        return row.id

    def cell_of(self, row: "RunRow", key: str, width: int) -> Content:
        match key:
            case "state":
                return state_text(row.state)
            case "title":
                mark = (f"{MARKED_GLYPH} ", tone("key", "bold")) if row.id in self.marked else ""
                room = width - 2 * bool(mark) - 2 * bool(row.problem)
                title = row.title if row.named else shorten_middle(row.title, room)
                return line(mark, title, (" !", tone("failed", "bold")) if row.problem else "")
            case "progress":
                return progress_cell(row, width)
            case "steps":
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
            case _:
                return Content.styled(row.model, tone("dim"))


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
        if row.problem:
            text = Content.styled(row.problem, tone("failed"))
        else:
            text = line(state_text(row.state), (f"  {row.status_text}" if row.status_text else "", tone("dim")))
        lines = [fit(about, width), fit(text, width)]
        room = self.size.height - 3
        if room >= 4 and not row.losses:
            lines += [Content(), Content.styled("The loss curve appears with the first step.", tone("dim"))]
        elif room >= 4:
            curve = ChartLine("smoothed", row.steps, row.losses, "smooth")
            lines += [Content(), *draw_plot(Plot("Loss", (curve,), float(row.total or 0) or None), width, room)]
        return lines

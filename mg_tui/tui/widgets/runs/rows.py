"""The table of runs, and what is said about the run under the cursor."""

from time import time
from typing import TYPE_CHECKING, ClassVar, Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.runs.state import RunState
from mg_tui.tui import words
from mg_tui.tui.draw import meter, sparkline
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.chart import Line, Plot, draw
from mg_tui.tui.widgets.lines import Lines, fit, line
from mg_tui.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from mg_tui.tui.snapshot import RunRow

MARK: Final = "●"


def state_text(state: RunState, *styles: str) -> Content:
    """A state as its glyph and its word, in its colour."""
    return Content.styled(f"{state.glyph} {state.word}", tone(state.value, *styles))


def progress(row: "RunRow", width: int) -> Content:
    """A bar with a percentage; a run that trains nothing yet says what it does instead."""
    if row.queue is not None:
        place, held = row.queue
        return Content.styled("held" if held else f"number {place}" if width >= 9 else f"#{place}", tone("queued"))
    if row.share is None or (row.state is RunState.RUNNING and not row.step):
        return Content.styled(row.phase or words.DASH, tone("dim"))
    filled, rest = meter(row.share, max(width - 5, 3))
    return line((filled, tone(row.state.value)), (rest, tone("track")), f" {words.percent(row.share):>4}")


def steps(row: "RunRow") -> str:
    """Steps done and asked for."""
    if row.total is None:
        return str(row.step) if row.step else words.DASH
    return f"{_short(row.step)}/{_short(row.total)}"


def _short(number: int) -> str:
    if number < 10_000:
        return str(number)
    return f"{number / 1000:.0f}k" if 100_000 <= number < 1_000_000 else words.figures(number)


class RunTable(Table["RunRow"]):
    """Every run, newest first."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("state", "State", 10, grow=1, most=13),
        Column("title", "Name", 15, grow=3, most=44),
        Column("progress", "Progress", 11, grow=1, most=26, rank=1),
        Column("steps", "Step", 9, rank=4, right=True),
        Column("loss", "Loss", 7, rank=2, right=True),
        Column("curve", "Curve", 8, grow=1, most=24, rank=5),
        Column("eta", "ETA", 7, rank=3, right=True),
        Column("age", "Age", 4, rank=6, right=True),
        Column("model", "Model", 14, grow=1, most=30, rank=7),
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
                mark = (f"{MARK} ", tone("key", "bold")) if row.id in self.marked else ""
                return line(mark, row.title, (" !", tone("failed", "bold")) if row.problem else "")
            case "progress":
                return progress(row, width)
            case "steps":
                return Content(steps(row))
            case "loss":
                return Content(words.loss(row.loss))
            case "curve":
                return Content.styled(sparkline(row.losses, width), tone("spark"))
            case "eta":
                return Content(words.duration(row.eta) if row.eta is not None else "")
            case "age":
                return Content.styled(words.age(None if row.since is None else time() - row.since), tone("dim"))
            case _:
                return Content.styled(row.model, tone("dim"))


class Peek(Lines):
    """What the run under the cursor is and what became of it; where there is room, its curve."""

    DEFAULT_CSS = """
    Peek { height: 2; background: $surface; padding: 0 1; }
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
            said = Content.styled(row.problem, tone("failed"))
        else:
            said = line(state_text(row.state), (f"  {row.said}" if row.said else "", tone("dim")))
        lines = [fit(about, width), fit(said, width)]
        room = self.size.height - 3
        if room >= 4 and not row.losses:
            lines += [Content(), Content.styled("Its curve is drawn here from the first step on.", tone("dim"))]
        elif room >= 4:
            curve = Line("smoothed", row.steps, row.losses, "smooth")
            lines += [Content(), *draw(Plot("Loss", (curve,), float(row.total or 0) or None), width, room)]
        return lines

"""Several runs beside each other: their curves on one chart, and a table of what differs."""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Final

from textual.content import Content

from mg_tui.core.text import one_line
from mg_tui.tui import words
from mg_tui.tui.charting import View
from mg_tui.tui.draw import smooth
from mg_tui.tui.snapshot import RunDetail
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.chart import SOLID, Line, Plot
from mg_tui.tui.widgets.lines import Lines, cell, line
from mg_tui.tui.widgets.run.facts import FACTS, memory_of
from mg_tui.tui.widgets.runs.rows import state_text

# A run's place gives its colour (theme tones run-1 ...), its glyph and its dashes: any one of them tells runs apart.
GLYPHS: Final = ("●", "■", "▲", "◆", "✚", "○")
_DASHES: Final = (SOLID, (6, 2), (2, 2), (10, 3), (4, 4), (1, 2))
MOST: Final = len(GLYPHS)
COMPARED_CURVES: Final = len(FACTS) + 2  # the loss, the facts, the loss of evaluations
_SHOWN_TWICE: Final = frozenset({"name"})  # what the table says already


def plot_of(details: Sequence[RunDetail], view: View) -> Plot:
    """A curve of every run as the chart draws it."""
    steps = [step for detail in details for step in (*detail.curves.steps[:1], *detail.curves.steps[-1:])]
    window = view.window(sorted(steps))
    write: Callable[[float | None], str] = words.loss
    values: list[Sequence[float]]
    if view.curve == 0:
        title, zero = "Loss", False
        values = [_loss(detail, view) for detail in details]
    elif view.curve <= len(FACTS):
        fact = FACTS[view.curve - 1]
        title, write, zero = fact.title[0].upper() + fact.title[1:], fact.write, fact.zero
        values = [fact.values(detail.curves) for detail in details]
    else:
        title, zero = "Loss of evaluations", False
        values = [[item.loss for item in detail.evals] for detail in details]
    evals = view.curve > len(FACTS)
    lines = tuple(
        Line(
            _name(detail),
            [item.step for item in detail.evals] if evals else detail.curves.steps,
            series,
            f"run-{place + 1}",
            dash=_DASHES[place],
            glyph=GLYPHS[place],
            offset=place * 16 // MOST,
        )
        for place, (detail, series) in enumerate(zip(details, values, strict=True))
    )
    last = max((float(detail.row.total or 0) for detail in details), default=0.0)
    return Plot(title, lines, last or None, write, zero, view.logarithmic, window)


def _loss(detail: RunDetail, view: View) -> Sequence[float]:
    window = view.smoothing(len(detail.curves.steps))
    if view.usual:
        return detail.curves.smoothed
    return smooth(detail.curves.loss, window=window) if window else detail.curves.loss


def _name(detail: RunDetail) -> str:
    return one_line(detail.row.title, limit=24)


def differing(specs: Sequence[Any], *, every: bool) -> list[tuple[str, list[Any]]]:
    """Fields of specs whose values are not all the same (or all fields), with the value of each."""
    names = dict.fromkeys(name for spec in specs for name in spec)
    rows = [(name, [spec.get(name) for spec in specs]) for name in names if name not in _SHOWN_TWICE]
    return [(name, values) for name, values in rows if every or any(value != values[0] for value in values[1:])]


def table(details: Sequence[RunDetail], width: int, *, every: bool) -> list[Content]:
    """Results first, then what differs in what was asked."""
    label = 22 if width >= 100 else 16
    column = max((width - label) // max(len(details), 1) - 2, 8)

    def row(name: str, cells: Sequence[Content | str]) -> Content:
        parts = [cell(Content.styled(one_line(name), tone("dim")), label)]
        for item in cells:
            parts += [cell(item if isinstance(item, Content) else Content(item), column), Content("  ")]
        return line(*parts)

    titles = [
        line((f"{GLYPHS[place]} ", tone(f"run-{place + 1}", "bold")), (_name(detail), tone(f"run-{place + 1}", "bold")))
        for place, detail in enumerate(details)
    ]
    lines = [
        row("", titles),
        row("state", [state_text(detail.row.state) for detail in details]),
        row("step", [f"{detail.row.step}/{detail.row.total or words.DASH}" for detail in details]),
        row("loss", _best([detail.row.loss for detail in details])),
        row("best eval", _best([_best_eval(detail) for detail in details])),
        row("tokens/s", [words.figures(_mean(detail.curves.tokens_per_second)) for detail in details]),
        row("most memory", [words.size(_largest(memory_of(detail.curves))) for detail in details]),
        row("time", [words.duration(detail.elapsed) for detail in details]),
        Content(),
    ]
    fields = differing([detail.spec for detail in details], every=every)
    heading = "Options" if every else "Options that differ" if fields else "Every option is the same"
    lines.append(Content.styled(heading, tone("key", "bold")))
    return lines + [row(name, [one_line(_written(value), limit=200) for value in values]) for name, values in fields]


def _written(value: Any) -> str:
    return words.DASH if value is None else "yes" if value is True else "no" if value is False else str(value)


def _best(values: Sequence[float | None]) -> list[Content]:
    """Losses, the lowest of several in bold."""
    finite = [value for value in values if value is not None and isfinite(value)]
    least = min(finite) if len(finite) > 1 else None
    return [
        Content.styled(words.loss(value), tone("finished", "bold") if value is not None and value == least else "")
        for value in values
    ]


def _best_eval(detail: RunDetail) -> float | None:
    return min((item.loss for item in detail.evals if isfinite(item.loss)), default=None)


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if isfinite(value)]
    return sum(finite) / len(finite) if finite else None


def _largest(values: Sequence[float]) -> float | None:
    return max((value for value in values if isfinite(value)), default=None)


class ComparedTable(Lines):
    """The table of the newest details."""

    DEFAULT_CSS = """
    ComparedTable { padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.details: Sequence[RunDetail] = ()
        self.every = False

    def show(self, details: Sequence[RunDetail], *, every: bool) -> None:
        """Show newer details."""
        self.details, self.every = details, every
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if not self.details:
            return [Content.styled("reading journals …", tone("dim"))]
        return table(self.details, width, every=self.every)

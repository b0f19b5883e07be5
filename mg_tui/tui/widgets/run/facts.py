"""The newest values of a run, with their courses where there is room; and the curves the chart can draw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.tui import words
from mg_tui.tui.draw import sparkline
from mg_tui.tui.snapshot import Curves, RunDetail
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.chart import Line, Plot
from mg_tui.tui.widgets.lines import Lines, cell, fit, joined, line


@dataclass(frozen=True, slots=True)
class Fact:
    """A value over the steps: its names, where it is in `Curves`, how it is written."""

    title: str
    short: str
    values: Callable[[Curves], Sequence[float]]
    write: Callable[[float | None], str]
    zero: bool = True


def memory_of(curves: Curves) -> Sequence[float]:
    """Memory of the device; of the host where there is no device."""
    return curves.device_memory if any(isfinite(value) for value in curves.device_memory) else curves.host_memory


FACTS: Final = (
    Fact("learning rate", "lr", lambda curves: curves.learning_rate, words.scientific),
    Fact("gradient norm", "grad", lambda curves: curves.grad_norm, words.loss),
    Fact("memory", "mem", memory_of, words.size),
    Fact("tokens/s", "tok/s", lambda curves: curves.tokens_per_second, words.figures),
    Fact("images/s", "img/s", lambda curves: curves.images_per_second, words.figures),
    Fact("data wait", "wait", lambda curves: curves.data_wait, words.percent),
)
CURVE_COUNT: Final = len(FACTS) + 1


def plot_of(detail: RunDetail, which: int, logarithmic: bool) -> Plot:
    """The loss (0) or one of the facts as the chart draws it."""
    curves, last = detail.curves, float(detail.row.total or 0) or None
    if which == 0:
        evals = [item for item in detail.evals if isfinite(item.loss)]
        lines = (
            Line("each step", curves.steps, curves.loss, "raw", "dots"),
            Line("smoothed", curves.steps, curves.smoothed, "smooth"),
            Line("eval", [item.step for item in evals], [item.loss for item in evals], "eval", "mark"),
        )
        return Plot("Loss", lines, last, words.loss, logarithmic=logarithmic)
    fact = FACTS[which - 1]
    only = Line("each step", curves.steps, fact.values(curves), "smooth")
    title = fact.title[0].upper() + fact.title[1:]
    return Plot(title, (only,), last, fact.write, zero=fact.zero, logarithmic=logarithmic)


def column(detail: RunDetail, width: int) -> list[Content]:
    """One fact a line with its course, then counts."""
    lines = []
    for fact in FACTS:
        values = fact.values(detail.curves)
        lines.append(
            line(
                (f"{fact.title:<14}", tone("dim")),
                cell(Content(fact.write(values[-1] if values else None)), 10, right=True),
                "  ",
                (sparkline(values, max(width - 27, 0)), tone("spark")),
            )
        )
    lines.append(Content())
    lines += [
        line((f"{label:<14}", tone("dim")), fit(Content(text), width - 14)) for label, text in _counts(detail) if text
    ]
    return lines


def strip(detail: RunDetail, width: int) -> list[Content]:
    """Every fact in one or two lines."""
    parts = []
    for fact in FACTS:
        values = fact.values(detail.curves)
        parts.append(line((f"{fact.short} ", tone("dim")), fact.write(values[-1] if values else None)))
    return [joined(parts, width, "  ")]


def _counts(detail: RunDetail) -> list[tuple[str, str]]:
    evals = [item for item in detail.evals if isfinite(item.loss)]
    best = min(evals, key=lambda item: item.loss, default=None)
    newest = max((saved.step for saved in detail.checkpoints), default=None)
    examples = detail.plan.get("examples")
    return [
        ("best eval", "" if best is None else f"{words.loss(best.loss)} at step {best.step}"),
        ("checkpoints", "" if newest is None else f"{len(detail.checkpoints)}, newest at step {newest}"),
        ("warnings", str(detail.warning_count) if detail.warning_count else ""),
        ("examples", "" if examples is None else str(examples)),
    ]


class Facts(Lines):
    """A column beside the chart on a wide screen, a strip below it on a narrow one."""

    DEFAULT_CSS = """
    Facts { padding: 0 1; height: 1; }
    """
    detail: reactive[RunDetail | None] = reactive(None, repaint=False)

    def watch_detail(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self.detail is None:
            return [Content()]
        return column(self.detail, width) if self.size.height > 2 else strip(self.detail, width)

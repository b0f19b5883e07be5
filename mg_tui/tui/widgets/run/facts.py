"""The newest values of a run, with their courses where there is room; and the curves the chart can draw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import words
from mg_tui.tui.charting import View
from mg_tui.tui.draw import smooth, sparkline
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


def plot_of(detail: RunDetail, view: View) -> Plot:
    """The loss (curve 0) or one of the facts as the chart draws it."""
    curves, last = detail.curves, float(detail.row.total or 0) or None
    window = view.window(curves.steps)
    if view.curve == 0:
        evals = [item for item in detail.evals if isfinite(item.loss)]
        lines = [
            Line("each step", curves.steps, curves.loss, "raw", "dots"),
            *smoothed_lines(curves, view),
            Line("eval", [item.step for item in evals], [item.loss for item in evals], "eval", "mark"),
        ]
        return Plot("Loss", tuple(lines), last, words.loss, logarithmic=view.logarithmic, window=window)
    fact = FACTS[view.curve - 1]
    lines = [Line("each step", curves.steps, fact.values(curves), "smooth")]
    if fact.title == "memory" and (estimate := estimate_of(detail)) is not None and curves.steps:
        ends = (float(curves.steps[0]), max(float(curves.steps[-1]), last or 0.0))
        lines.append(Line("estimate", ends, (estimate, estimate), "eval", "rule"))
    title = fact.title[0].upper() + fact.title[1:]
    return Plot(title, tuple(lines), last, fact.write, fact.zero, view.logarithmic, window)


def smoothed_lines(curves: Curves, view: View, name: str = "smoothed", tone_name: str = "smooth") -> list[Line]:
    """The loss as smooth as chosen; nothing where no smoothing is."""
    if view.usual:
        return [Line(name, curves.steps, curves.smoothed, tone_name)]
    window = view.smoothing(len(curves.steps))
    if not window:
        return []
    return [Line(f"{name} over {window}", curves.steps, smooth(curves.loss, window=window), tone_name)]


def estimate_of(detail: RunDetail) -> float | None:
    """What the run was estimated to take of a device's memory, in bytes, where its plan says so."""
    value = detail.plan.get("estimate_bytes")
    return float(value) if isinstance(value, int | float) and value > 0 else None


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
        line((f"{label:<14}", tone("dim")), fit(Content(one_line(text)), width - 14))
        for label, text in _counts(detail)
        if text
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
    examples, estimate = detail.plan.get("examples"), estimate_of(detail)
    return [
        ("best eval", "" if best is None else f"{words.loss(best.loss)} at step {best.step}"),
        ("checkpoints", "" if newest is None else f"{len(detail.checkpoints)}, newest at step {newest}"),
        ("used", detail.used),
        ("estimate", "" if estimate is None else f"{words.size(estimate)} of device memory"),
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

"""Histograms of what a check counted: tokens of rows, and sizes of images."""

from collections.abc import Callable, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.datasets.findings import CHECKING_TEXT
from mg_tui.tui.widgets.lines import Lines, cell, fit, line

if TYPE_CHECKING:
    from mg_tui.data.checks.findings import CheckReport, Histogram

EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
LABEL_WIDTH: Final = 15  # cells
TOKEN_EDGES: Final = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
SIDE_EDGES: Final = (56, 112, 224, 448, 672, 896, 1344, 2048, 4096)  # sides of a square with as many pixels


class SizeHistograms(Lines):
    """Both histograms, side by side where there is room."""

    DEFAULT_CSS = """
    SizeHistograms { padding: 0 1; }
    """
    report: reactive["CheckReport | None"] = reactive(None, repaint=False)
    max_tokens: reactive[int] = reactive(0, repaint=False)
    checking: reactive[bool] = reactive(False, repaint=False)

    def watch_checking(self) -> None:
        self.redraw()

    def watch_report(self) -> None:
        self.redraw()

    def watch_max_tokens(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        report = self.report
        if report is None:
            text = CHECKING_TEXT if self.checking else "Press c to check the dataset; its sizes appear here."
            return [Content.styled(text, tone("dim"))]
        side_by_side = width >= 76
        half = (width - 3) // 2 if side_by_side else width
        left, right = self._tokens(report, half), self._images(report, half)
        if not side_by_side:
            return [*left, Content(), *right]
        height = max(len(left), len(right))
        left += [Content()] * (height - len(left))
        right += [Content()] * (height - len(right))
        return [line(cell(a, half), "   ", fit(b, half)) for a, b in zip(left, right, strict=True)]

    def _tokens(self, report: "CheckReport", width: int) -> list[Content]:
        histogram = report.total_tokens
        if histogram is None or not histogram.total:
            text = "Tokens were not counted. Press b to choose a model, then c to check."
            return Content.styled(text, tone("dim")).wrap(width)
        summary = f"median {histogram.percentile(0.5):,}, largest {histogram.largest:,}"
        return [
            *_heading_lines("Tokens per row", summary),
            *histogram_lines(histogram, TOKEN_EDGES, _token_label, width, limit=self.max_tokens),
        ]

    def _images(self, report: "CheckReport", width: int) -> list[Content]:
        histogram = report.pixels
        if not histogram.total:
            return [Content.styled("No images.", tone("dim"))]
        summary = f"median {_format_side(histogram.percentile(0.5))}, largest {_format_side(histogram.largest)}"
        edges = tuple(side**2 for side in SIDE_EDGES)
        return [
            *_heading_lines("Image size (√ pixels)", summary),
            *histogram_lines(histogram, edges, _side_label, width),
        ]


def _heading_lines(title: str, summary: str) -> list[Content]:
    return [Content.styled(title, "bold"), Content.styled(summary, tone("dim"))]


def _token_label(edge: int, last: bool) -> str:
    return f"{edge:,} and more" if last else f"under {edge:,}"


def _side_label(edge: int, last: bool) -> str:
    side = round(sqrt(edge))
    return f"{side} and more" if last else f"under {side}"


def histogram_lines(
    histogram: "Histogram", edges: Sequence[int], name: Callable[[int, bool], str], width: int, *, limit: int = 0
) -> list[Content]:
    """A histogram as horizontal bars, a bin a line; empty bins at both ends are left out.

    Args:
        edges: upper edges of the bins; a last bin holds everything above.
        name: label of a bin, from its edge and whether it is the last.
        limit: bins above it have the color of failures; 0 is no limit.
    """
    counts = histogram.bins(edges)
    filled = [index for index, count in enumerate(counts) if count]
    largest = max(counts, default=1) or 1
    digits = len(f"{largest:,}")
    room = max(width - LABEL_WIDTH - digits - 3, 4)
    lines = []
    for index in range(filled[0], filled[-1] + 1) if filled else ():
        last = index == len(edges)
        edge = edges[-1] if last else edges[index]
        style = tone("failed" if limit and edge > limit and counts[index] else "spark")
        label = (f"{name(edge, last):>{LABEL_WIDTH}} ", tone("dim"))
        bar = bar_in_eighths(counts[index] / largest, room)
        lines.append(line(label, (bar, style), f" {counts[index]:>{digits},}"))
    return lines


def _format_side(pixels: int) -> str:
    return f"{round(sqrt(pixels)):,}"


def bar_in_eighths(share: float, width: int) -> str:
    """A bar of `width` cells in eighths; a share above zero is never drawn as nothing."""
    eighths = max(round(min(max(share, 0.0), 1.0) * width * 8), 1 if share > 0 else 0)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(width)

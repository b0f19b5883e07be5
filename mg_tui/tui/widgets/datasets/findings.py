"""What a check found, by kind; and how large images and how long rows are."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.datasets.row_table import SEVERITY_MARKS
from mg_tui.tui.widgets.lines import Lines, cell, fit, join_fitting, line
from mg_tui.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from mg_tui.data.checks.findings import CheckReport, Finding, Histogram

_SEVERITY_ORDER: Final = {"error": 0, "warning": 1, "note": 2}
EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
CHECKING_TEXT: Final = "Rows and images are being looked at …"
LABEL_WIDTH: Final = 15  # cells of a class's name
TOKEN_EDGES: Final = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
# Sides of a square with as many pixels, and how a class is written.
SIDE_EDGES: Final = (56, 112, 224, 448, 672, 896, 1344, 2048, 4096)


class FindingKindRow(NamedTuple):
    """A kind of finding in the list, and how many rows have it."""

    kind: str
    severity: str
    title: str
    rows: int
    why: str


def list_finding_kinds(report: "CheckReport") -> list[FindingKindRow]:
    """The kinds that were found, errors first, the commonest first."""
    from mg_tui.data.checks.findings import KINDS

    rows = [FindingKindRow(kind, *KINDS[kind][:2], count, KINDS[kind].why) for kind, count in report.counts.items()]
    return sorted(rows, key=lambda row: (_SEVERITY_ORDER[row.severity], -row.rows, row.kind))


class RowSeverities:
    """The worst severity of what was found in a row, and which rows something was found in.

    Made in the thread of the check: a million rows take a moment.
    """

    def __init__(self, report: "CheckReport | None" = None) -> None:
        from mg_tui.data.checks.findings import KINDS

        found = report.rows_by_kind.items() if report is not None else ()
        listed = sorted(
            ((KINDS[kind].severity, rows) for kind, rows in found), key=lambda item: _SEVERITY_ORDER[item[0]]
        )
        self._rows_by_severity = listed
        every: set[int] = set().union(*(rows for _severity, rows in listed))
        self.rows = array("Q", sorted(every - {0}))

    def severity_of(self, number: int) -> str:
        """ "error", "warning", "note", or nothing."""
        for severity, rows in self._rows_by_severity:
            at = bisect_left(rows, number)
            if at < len(rows) and rows[at] == number:
                return severity
        return ""


def finding_line(finding: "Finding") -> Content:
    """A finding in a line: its mark, a blank, then what and what to try."""
    from mg_tui.data.checks.findings import KINDS

    kind = KINDS[finding.kind]
    glyph, style = SEVERITY_MARKS[kind.severity]
    where = f"{one_line(finding.field, limit=60)}: " if finding.field else ""
    hint = f"  try: {one_line(finding.hint)}" if finding.hint else ""
    return line(
        (glyph, tone(style, "bold")),
        " ",
        (kind.title, tone(style)),
        f"  {where}{one_line(finding.what)}",
        (hint, tone("dim")),
    )


class FindingKindTable(Table[FindingKindRow]):
    """The kinds of findings; choosing one shows only its rows."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("mark", "", 1),
        Column("title", "Found", 22, grow=1, max_width=34),
        Column("count", "Rows", 8, align_right=True),
        Column("why", "Why it matters", 30, grow=3, drop_rank=1),
    )

    def key_of(self, row: FindingKindRow) -> str:
        return row.kind

    def cell_of(self, row: FindingKindRow, key: str, width: int) -> Content:
        glyph, style = SEVERITY_MARKS[row.severity]
        match key:
            case "mark":
                return Content.styled(glyph, tone(style, "bold"))
            case "title":
                return Content.styled(row.title, tone(style))
            case "count":
                return Content(f"{row.rows:,}")
            case _:
                return Content.styled(row.why, tone("dim"))


class FindingsSummary(Lines):
    """What the check says as a whole, or what to do to have one."""

    DEFAULT_CSS = """
    FindingsSummary { padding: 0 1; }
    """
    report: reactive["CheckReport | None"] = reactive(None, repaint=False)
    checking: reactive[bool] = reactive(False, repaint=False)

    def watch_report(self) -> None:
        self.redraw()

    def watch_checking(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        report = self.report
        if report is None:
            said = CHECKING_TEXT if self.checking else "c checks every row and image."
            return [Content.styled(said, tone("dim"))]
        bad = report.rows - report.good_rows
        verdict = (
            Content.styled(f"✗ {formatting.count(bad, 'row')} cannot be trained on", tone("failed", "bold"))
            if bad
            else Content.styled("✓ every row can be trained on", tone("finished", "bold"))
        )
        parts = [
            verdict,
            line((f"{report.rows:,}", "bold"), " rows"),
            line((f"{report.images:,}", "bold"), " images"),
            Content.styled(f"in {formatting.duration(report.seconds)}", tone("dim")),
        ]
        if not report.complete:
            parts.insert(1, Content.styled("stopped early", tone("eval")))
        lines = [join_fitting(parts, width)]
        for remedy in report.suggestions:
            text = f"{one_line(remedy.change)} saves {formatting.count(remedy.rows_saved, 'row')}: {one_line(remedy.flags)}"
            lines.append(fit(line(("  → ", tone("key")), text), width))
        return lines


class SizeHistograms(Lines):
    """Histograms of what the check counted."""

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
            said = CHECKING_TEXT if self.checking else "c checks the dataset; then its sizes are shown here."
            return [Content.styled(said, tone("dim"))]
        side_by_side = width >= 76
        each = (width - 3) // 2 if side_by_side else width
        left, right = self._tokens(report, each), self._images(report, each)
        if not side_by_side:
            return [*left, Content(), *right]
        count = max(len(left), len(right))
        left += [Content()] * (count - len(left))
        right += [Content()] * (count - len(right))
        return [line(cell(a, each), "   ", fit(b, each)) for a, b in zip(left, right, strict=True)]

    def _tokens(self, report: "CheckReport", width: int) -> list[Content]:
        found = report.total_tokens
        if found is None or not found.total:
            said = "Tokens were not counted: b chooses a model, c checks again."
            return Content.styled(said, tone("dim")).wrap(width)
        middle = f"median {found.percentile(0.5):,}, largest {found.largest:,}"
        return [
            *_heading_lines("Tokens of a row", middle),
            *histogram_lines(found, TOKEN_EDGES, _token_label, width, limit=self.max_tokens),
        ]

    def _images(self, report: "CheckReport", width: int) -> list[Content]:
        found = report.pixels
        if not found.total:
            return [Content.styled("No images.", tone("dim"))]
        middle = f"median {_format_side(found.percentile(0.5))}, largest {_format_side(found.largest)}"
        edges = tuple(side**2 for side in SIDE_EDGES)
        return [
            *_heading_lines("Images, as the side of a square", middle),
            *histogram_lines(found, edges, _side_label, width),
        ]


def _heading_lines(title: str, middle: str) -> list[Content]:
    return [Content.styled(title, "bold"), Content.styled(middle, tone("dim"))]


def _token_label(edge: int, last: bool) -> str:
    return f"{edge:,} and more" if last else f"under {edge:,}"


def _side_label(edge: int, last: bool) -> str:
    side = round(sqrt(edge))
    return f"{side} and more" if last else f"under {side}"


def histogram_lines(
    histogram: "Histogram", edges: Sequence[int], name: Callable[[int, bool], str], width: int, *, limit: int = 0
) -> list[Content]:
    """A histogram as horizontal bars, a class a line; classes at both ends without a count are left out.

    Classes above `limit` are in the colour of what fails; 0 is no limit.
    """
    counts = histogram.bins(edges)
    filled = [index for index, count in enumerate(counts) if count]
    most = max(counts, default=1) or 1
    digits = len(f"{most:,}")
    room = max(width - LABEL_WIDTH - digits - 3, 4)
    lines = []
    for index in range(filled[0], filled[-1] + 1) if filled else ():
        last = index == len(edges)
        edge = edges[-1] if last else edges[index]
        style = tone("failed" if limit and edge > limit and counts[index] else "spark")
        label = (f"{name(edge, last):>{LABEL_WIDTH}} ", tone("dim"))
        lines.append(line(label, (bar_in_eighths(counts[index] / most, room), style), f" {counts[index]:>{digits},}"))
    return lines


def _format_side(pixels: int) -> str:
    return f"{round(sqrt(pixels)):,}"


def bar_in_eighths(share: float, width: int) -> str:
    """A bar of `width` cells in eighths; what is not nothing is never drawn as nothing."""
    eighths = max(round(min(max(share, 0.0), 1.0) * width * 8), 1 if share > 0 else 0)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(width)


def pane_counts(report: "CheckReport | None") -> Mapping[str, int]:
    """Numbers beside the names of panes."""
    return {"findings": sum(report.counts.values())} if report is not None else {}

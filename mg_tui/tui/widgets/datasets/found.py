"""What a check found, by kind; and how large pictures and how long rows are."""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import words
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.datasets.rows import MARKS
from mg_tui.tui.widgets.lines import Lines, fit, joined, line
from mg_tui.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from mg_tui.data.findings import Finding, Histogram, Report

_ORDER: Final = {"error": 0, "warning": 1, "note": 2}
BARS: Final = " ▏▎▍▌▋▊▉█"
TOKEN_EDGES: Final = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
# Sides of a square with as many pixels, and how a class is written.
SIDE_EDGES: Final = (56, 112, 224, 448, 672, 896, 1344, 2048, 4096)


class KindRow(NamedTuple):
    """A kind of finding in the list, and how many rows have it."""

    kind: str
    severity: str
    title: str
    rows: int
    why: str


def kinds_of(report: "Report") -> list[KindRow]:
    """The kinds that were found, errors first, the commonest first."""
    from mg_tui.data.findings import KINDS

    rows = [KindRow(kind, *KINDS[kind][:2], count, KINDS[kind].why) for kind, count in report.counts.items()]
    return sorted(rows, key=lambda row: (_ORDER[row.severity], -row.rows, row.kind))


def marks_of(report: "Report") -> dict[int, str]:
    """The worst severity of each row that something was found in."""
    from mg_tui.data.findings import KINDS

    marks: dict[int, str] = {}
    for kind, numbers in sorted(report.rows_of.items(), key=lambda item: -_ORDER[KINDS[item[0]].severity]):
        severity = KINDS[kind].severity
        marks.update((number, severity) for number in numbers if number)
    return marks


def finding_line(finding: "Finding") -> Content:
    """A finding in a line: its mark, a blank, then what and what to try."""
    from mg_tui.data.findings import KINDS

    kind = KINDS[finding.kind]
    glyph, style = MARKS[kind.severity]
    where = f"{one_line(finding.field, limit=60)}: " if finding.field else ""
    hint = f"  try: {one_line(finding.hint)}" if finding.hint else ""
    return line(
        (glyph, tone(style, "bold")),
        " ",
        (kind.title, tone(style)),
        f"  {where}{one_line(finding.what)}",
        (hint, tone("dim")),
    )


class KindTable(Table[KindRow]):
    """The kinds of findings; choosing one shows only its rows."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("mark", "", 1),
        Column("title", "Found", 22, grow=1, most=34),
        Column("count", "Rows", 8, right=True),
        Column("why", "Why it matters", 30, grow=3, rank=1),
    )

    def key_of(self, row: KindRow) -> str:
        return row.kind

    def cell_of(self, row: KindRow, key: str, width: int) -> Content:
        glyph, style = MARKS[row.severity]
        match key:
            case "mark":
                return Content.styled(glyph, tone(style, "bold"))
            case "title":
                return Content.styled(row.title, tone(style))
            case "count":
                return Content(f"{row.rows:,}")
            case _:
                return Content.styled(row.why, tone("dim"))


class FoundText(Lines):
    """What the check says as a whole, or what to do to have one."""

    DEFAULT_CSS = """
    FoundText { padding: 0 1; }
    """
    report: reactive["Report | None"] = reactive(None, repaint=False)
    checking: reactive[bool] = reactive(False, repaint=False)

    def watch_report(self) -> None:
        self.redraw()

    def watch_checking(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        report = self.report
        if report is None:
            said = "Rows and pictures are being looked at …" if self.checking else "c checks every row and picture."
            return [Content.styled(said, tone("dim"))]
        bad = report.rows - report.good
        verdict = (
            Content.styled(f"✗ {words.count(bad, 'row')} cannot be trained on", tone("failed", "bold"))
            if bad
            else Content.styled("✓ every row can be trained on", tone("finished", "bold"))
        )
        parts = [
            verdict,
            line((f"{report.rows:,}", "bold"), " rows"),
            line((f"{report.images:,}", "bold"), " pictures"),
            Content.styled(f"in {words.duration(report.seconds)}", tone("dim")),
        ]
        if not report.complete:
            parts.insert(1, Content.styled("stopped early", tone("eval")))
        lines = [joined(parts, width)]
        for remedy in report.remedies:
            text = f"{one_line(remedy.change)} saves {words.count(remedy.saves, 'row')}: {one_line(remedy.flags)}"
            lines.append(fit(line(("  → ", tone("key")), text), width))
        return lines


class Sizes(Lines):
    """Histograms of what the check counted."""

    DEFAULT_CSS = """
    Sizes { padding: 0 1; }
    """
    report: reactive["Report | None"] = reactive(None, repaint=False)
    limit: reactive[int] = reactive(0, repaint=False)

    def watch_report(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        report = self.report
        if report is None:
            return [Content.styled("c checks the dataset; then its sizes are shown here.", tone("dim"))]
        tokens = report.tokens
        left = (
            bars("Tokens of a row", tokens, TOKEN_EDGES, _up_to, self.limit)
            if tokens is not None and tokens.total
            else [Content.styled("Tokens were not counted: b chooses a model, c checks again.", tone("dim"))]
        )
        right = (
            bars("Pictures, as a square's side", report.pixels, tuple(side**2 for side in SIDE_EDGES), _side)
            if report.pixels.total
            else [Content.styled("No pictures.", tone("dim"))]
        )
        if width >= 76:
            half = (width - 3) // 2
            count = max(len(left), len(right))
            left += [Content()] * (count - len(left))
            right += [Content()] * (count - len(right))
            pairs = zip(left, right, strict=True)
            return [line(_cell(a, half), "   ", fit(b, half)) for a, b in pairs]
        return [*left, Content(), *right]


def _cell(content: Content, width: int) -> Content:
    content = fit(content, width)
    return content.pad_right(max(width - content.cell_length, 0))


def _up_to(edge: int, last: bool) -> str:
    return f"{edge:,} and more" if last else f"under {edge:,}"


def _side(edge: int, last: bool) -> str:
    side = round(sqrt(edge))
    return f"{side} and more" if last else f"under {side}"


def bars(
    title: str,
    histogram: "Histogram",
    edges: Sequence[int],
    name: Callable[[int, bool], str],
    limit: int = 0,
    room: int = 16,
) -> list[Content]:
    """A histogram as horizontal bars, a class a line; classes at both ends without a count are left out."""
    counts = histogram.bins(edges)
    filled = [index for index, count in enumerate(counts) if count]
    lines = [
        line(
            (title, "bold"),
            (f"  median {histogram.percentile(0.5):,}, largest {histogram.largest:,}", tone("dim"))
            if name is _up_to
            else (
                f"  median {_side_of(histogram.percentile(0.5))}, largest {_side_of(histogram.largest)}",
                tone("dim"),
            ),
        )
    ]
    most = max(counts, default=1) or 1
    for index in range(filled[0], filled[-1] + 1) if filled else ():
        last = index == len(edges)
        edge = edges[-1] if last else edges[index]
        over = bool(limit) and (edge > limit)
        lines.append(
            line(
                (f"{name(edge, last):>15} ", tone("dim")),
                (bar(counts[index] / most, room), tone("failed" if over else "spark")),
                f" {counts[index]:,}",
            )
        )
    return lines


def _side_of(pixels: int) -> str:
    return f"{round(sqrt(pixels)):,}"


def bar(share: float, width: int) -> str:
    """A bar of `width` cells in eighths; what is not nothing is never drawn as nothing."""
    eighths = max(round(min(max(share, 0.0), 1.0) * width * 8), 1 if share > 0 else 0)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (BARS[rest] if rest else "")).ljust(width)


def counts_of(report: "Report | None") -> Mapping[str, int]:
    """Numbers beside the names of panes."""
    return {"findings": sum(report.counts.values())} if report is not None else {}

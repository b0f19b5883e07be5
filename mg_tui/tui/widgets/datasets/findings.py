"""The findings of a check: a table of their kinds, a summary, and one finding as a line."""

from typing import TYPE_CHECKING, ClassVar, Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.datasets.finding_rows import FindingKindRow
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.datasets.row_table import SEVERITY_MARKS
from mg_tui.tui.widgets.lines import Lines, fit, join_fitting, line
from mg_tui.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from mg_tui.data.checks.findings import CheckReport, Finding, LengthSuggestion

CHECKING_TEXT: Final = "Checking rows and images …"


def finding_line(finding: "Finding") -> Content:
    """A finding in a line: mark, space, kind, text and hint."""
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
    """The check's verdict, or which key starts one."""

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
            text = CHECKING_TEXT if self.checking else "Press c to check every row and image."
            return [Content.styled(text, tone("dim"))]
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
        for suggestion in report.suggestions:
            lines.append(fit(line(("  → ", tone("key")), suggestion_text(suggestion)), width))
        return lines


def suggestion_text(suggestion: "LengthSuggestion") -> str:
    """A way to deal with rows that are too long, what it does, and its flags."""
    saved = formatting.count(suggestion.rows_saved, "row")
    effect = f"fixes {saved}" if suggestion.rows_saved else "trains on the rest"
    return f"{one_line(suggestion.change)}: {effect} ({one_line(suggestion.flags)})"

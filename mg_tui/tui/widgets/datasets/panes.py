"""The tabs of the lower panes of a dataset's screen, and the pane of a row."""

from collections.abc import Mapping, Sequence
from typing import Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui.actions import format_key
from mg_tui.tui.datasets.row_view import RowDetail
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, fit, hanging_indent, line, link

PANES: Final = (("row", "Row", "r"), ("tokens", "Tokens", "t"), ("findings", "Findings", "f"), ("sizes", "Sizes", "h"))
PURPOSE_TONES: Final = {"question": "key", "answer": "finished", "images": "eval", "conversation": "key"}
ROLE_TONES: Final = {"system": "dim", "user": "key", "assistant": "finished"}
LABEL_WIDTH: Final = 13
_SAME_CHARS: Final = 40  # a problem and a finding that end alike are one


class DatasetTabs(Lines):
    """The current pane, the keys of the others, and on the right a text about the pane."""

    DEFAULT_CSS = """
    DatasetTabs { height: 1; padding: 0 1; background: $panel; }
    """
    pane: reactive[str] = reactive("row", repaint=False)
    right: reactive[Content] = reactive(Content(), repaint=False)
    counts: reactive[Mapping[str, int]] = reactive({}, repaint=False)

    def watch_pane(self) -> None:
        self.redraw()

    def watch_right(self) -> None:
        self.redraw()

    def watch_counts(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        parts = []
        for pane, title, key in PANES:
            style = "underline bold" if pane == self.pane else tone("dim")
            count = self.counts.get(pane, 0)
            parts.append(
                line(
                    link(format_key(key), f"screen.{pane}", tone("key")),
                    " ",
                    link(title, f"screen.{pane}", style),
                    (f" {count:,}" if count else "", tone("eval")),
                )
            )
        tabs = Content("   ").join(parts)
        room = width - tabs.cell_length - 3
        if room < 8 or not self.right.cell_length:
            return [fit(tabs, width)]
        right = fit(self.right, room)
        return [line(cell(tabs, width - right.cell_length), right)]


class RowText(Lines):
    """The row's conversation, its problems, and the fields that are not part of it."""

    DEFAULT_CSS = """
    RowText { padding: 0 1; }
    """
    detail: reactive[RowDetail | None] = reactive(None, repaint=False)
    findings: reactive[Sequence[Content]] = reactive((), repaint=False)

    def watch_detail(self) -> None:
        self.redraw()

    def watch_findings(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        detail = self.detail
        if detail is None:
            return [Content.styled("reading …", tone("dim"))]
        lines: list[Content] = []
        for problem in detail.problems:
            # After a check, the findings say the same.
            if any(one_line(problem)[-_SAME_CHARS:] in one_line(finding.plain) for finding in self.findings):
                continue
            content = Content.styled(one_line(problem, limit=1_000), tone("failed"))
            lines += hanging_indent(Content.styled("✗", tone("failed", "bold")), content, 2, width)
        for finding in self.findings:
            lines += hanging_indent(finding[:1], finding[2:], 2, width)
        for role, text, images in detail.turns:
            label = Content.styled(role, tone(ROLE_TONES.get(role, "dim"), "bold"))
            content = line((f"▣×{images} " if images > 1 else "▣ " if images else "", tone("eval")), text)
            lines += hanging_indent(label, content, LABEL_WIDTH, width)
        used = {"question", "answer", "conversation"} if detail.turns else set()
        rest = [item for item in detail.fields if item.purpose not in used]
        if rest and lines:
            lines.append(Content())
        for item in rest:
            style = tone(PURPOSE_TONES.get(item.purpose, "dim"))
            lines += hanging_indent(
                fit(Content.styled(item.name, style), LABEL_WIDTH - 1), Content(item.text), LABEL_WIDTH, width
            )
        return lines or [Content.styled("This row has no fields.", tone("dim"))]

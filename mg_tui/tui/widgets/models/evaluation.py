"""Evaluated rows: which became right or wrong by training, and the answers of one."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line, printable
from mg_tui.tui import formatting
from mg_tui.tui.models.evaluated_row import EvaluatedRow, Verdict
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, hanging_indent, join_fitting, justify, line
from mg_tui.tui.widgets.table import Column, Table

# Glyph, word and tone of each verdict.
VERDICTS: Final[Mapping[Verdict, tuple[str, str, str]]] = {
    "better": ("▲", "better", "finished"),
    "worse": ("▼", "worse", "crashed"),
    "right": ("✓", "right", "finished"),
    "wrong": ("✗", "wrong", "failed"),
}
# Filters of the table, in the order in which the key cycles through them.
ROW_FILTERS: Final[tuple[tuple[str, frozenset[Verdict]], ...]] = (
    ("all rows", frozenset(VERDICTS)),
    ("fixed", frozenset({"better"})),
    ("broken", frozenset({"worse"})),
    ("wrong", frozenset({"worse", "wrong"})),
)
MAX_CHARS: Final = 4_000


def verdict_text(item: EvaluatedRow) -> Content:
    """The verdict as glyph and word."""
    glyph, word, name = VERDICTS[item.verdict]
    return Content.styled(f"{glyph} {word}", tone(name))


class EvaluationTable(Table[EvaluatedRow]):
    """Every answered row."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("row", "Row", 5, align_right=True),
        Column("verdict", "", 8),
        Column("question", "Question", 14, grow=3, max_width=60, drop_rank=3),
        Column("expected", "Expected", 12, grow=2, max_width=40, drop_rank=1),
        Column("before", "Before", 12, grow=2, max_width=40, drop_rank=2),
        Column("answer", "After", 12, grow=2, max_width=40),
    )

    def key_of(self, row: EvaluatedRow) -> str:
        return str(row.row)

    def cell_of(self, row: EvaluatedRow, key: str, width: int) -> Content:
        match key:
            case "row":
                return Content.styled(str(row.row), tone("dim"))
            case "verdict":
                return verdict_text(row)
            case "question":
                return Content(one_line(row.question[:MAX_CHARS], limit=width + 1))
            case "expected":
                return Content(one_line(row.expected[:MAX_CHARS], limit=width + 1))
            case "before":
                return Content.styled(one_line((row.base_answer or "")[:MAX_CHARS], limit=width + 1), tone("dim"))
            case _:
                style = tone("finished" if row.is_correct else "failed")
                return Content.styled(one_line(row.answer[:MAX_CHARS], limit=width + 1), style)


class EvaluationHead(Lines):
    """Exact match before and after training."""

    DEFAULT_CSS = """
    EvaluationHead { height: 2; padding: 0 1; background: $surface; }
    """
    state: reactive[str] = reactive("loading the model …", repaint=False)
    filter_index: reactive[int] = reactive(0, repaint=False)
    dataset_note: reactive[str] = reactive("", repaint=False)

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self.rows: Sequence[EvaluatedRow] = ()

    def watch_state(self) -> None:
        self.redraw()

    def watch_filter_index(self) -> None:
        self.redraw()

    def watch_dataset_note(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        filter_title = ROW_FILTERS[self.filter_index][0] if self.filter_index and self.rows else ""
        right = (
            Content.styled(filter_title, tone("eval")) if filter_title else Content.styled(self.state, tone("running"))
        )
        first = justify(Content.styled(self._title, "bold"), right, width)
        if not self.rows:
            return [first, Content.styled(one_line(self.dataset_note), tone("dim"))]
        counts = {verdict: sum(item.verdict == verdict for item in self.rows) for verdict in VERDICTS}
        correct, count = counts["better"] + counts["right"], len(self.rows)
        share = formatting.percent(correct / count)
        parts = [line(("exact match ", tone("dim")), (share, "bold"), f"  {correct}/{count}")]
        if all(item.base_answer is not None for item in self.rows):
            base_correct = counts["right"] + counts["worse"]
            parts.insert(0, line(("before ", tone("dim")), formatting.percent(base_correct / count)))
        parts += [
            Content.styled(f"{glyph} {counts[verdict]} {word}", tone(name))
            for verdict, (glyph, word, name) in VERDICTS.items()
            if verdict in ("better", "worse") and counts[verdict]
        ]
        return [first, join_fitting(parts, width)]


class EvaluatedRowText(Lines):
    """One row in full."""

    DEFAULT_CSS = """
    EvaluatedRowText { padding: 0 1; }
    """
    item: reactive[EvaluatedRow | None] = reactive(None, repaint=False)

    def watch_item(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        item = self.item
        if item is None:
            return [Content()]
        lines = [line((f"row {item.row}  ", tone("dim")), verdict_text(item))]
        for label, text, style in (
            ("asked", item.question, ""),
            ("expected", item.expected, ""),
            ("before", item.base_answer, tone("dim")),
            ("after", item.answer, tone("finished" if item.is_correct else "failed", "bold")),
        ):
            if text is not None:
                content = Content.styled(printable(text.strip(), limit=MAX_CHARS) or "(nothing)", style)
                lines += hanging_indent(Content.styled(label, tone("dim")), content, 10, width)
        return lines

"""Rows answered before and after: which became right, and what was said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line, printable
from mg_tui.tui import formatting
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, hanging_indent, join_fitting, justify, line
from mg_tui.tui.widgets.models.conversation import ChatQuestion
from mg_tui.tui.widgets.table import Column, Table

Verdict = Literal["better", "worse", "right", "wrong"]

# Glyph, word and tone of each verdict.
VERDICTS: Final[Mapping[Verdict, tuple[str, str, str]]] = {
    "better": ("▲", "better", "finished"),
    "worse": ("▼", "worse", "crashed"),
    "right": ("✓", "right", "finished"),
    "wrong": ("✗", "wrong", "failed"),
}
# What is shown: all, then what people look for.
ROW_FILTERS: Final[tuple[tuple[str, frozenset[Verdict]], ...]] = (
    ("all rows", frozenset(VERDICTS)),
    ("only what became right", frozenset({"better"})),
    ("only what became wrong", frozenset({"worse"})),
    ("only what is not right", frozenset({"worse", "wrong"})),
)
MAX_CHARS: Final = 4_000


@dataclass(frozen=True, slots=True)
class EvaluatedRow:
    """A row and its answers. Texts are as the dataset and the models wrote them: not safe to print."""

    row: int
    images: tuple[Path, ...]
    question: str
    expected: str
    answer: str
    base_answer: str | None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "EvaluatedRow":
        """From the engine's record of a row."""
        images = tuple(Path(path) for path in record.get("images") or ())
        before = record.get("base_answer")
        return cls(
            int(record["row"]),
            images,
            str(record["prompt"]),
            str(record["expected"]),
            str(record["answer"]),
            None if before is None else str(before),
        )

    @property
    def is_correct(self) -> bool:
        """Whether the model's answer is the expected one, blanks around it aside."""
        return self.answer.strip() == self.expected.strip()

    @property
    def verdict(self) -> Verdict:
        """What training did to it; without an answer from before, only whether it is right."""
        was = None if self.base_answer is None else self.base_answer.strip() == self.expected.strip()
        if self.is_correct:
            return "better" if was is False else "right"
        return "worse" if was else "wrong"

    @property
    def chat_question(self) -> ChatQuestion:
        """The row as a question for a chat."""
        return ChatQuestion(self.question, self.images, self.expected, f"row {self.row}")


def verdict_text(item: EvaluatedRow) -> Content:
    """The verdict as glyph and word."""
    glyph, word, name = VERDICTS[item.verdict]
    return Content.styled(f"{glyph} {word}", tone(name))


class EvaluationTable(Table[EvaluatedRow]):
    """Every row that is answered."""

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
    """How many were right before, how many are now."""

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
        only = ROW_FILTERS[self.filter_index][0] if self.filter_index and self.rows else ""
        said = Content.styled(only, tone("eval")) if only else Content.styled(self.state, tone("running"))
        first = justify(Content.styled(self._title, "bold"), said, width)
        if not self.rows:
            return [first, Content.styled(one_line(self.dataset_note), tone("dim"))]
        counts = {verdict: sum(item.verdict == verdict for item in self.rows) for verdict in VERDICTS}
        right, count = counts["better"] + counts["right"], len(self.rows)
        parts = [line(("exact match ", tone("dim")), (formatting.percent(right / count), "bold"), f"  {right}/{count}")]
        if all(item.base_answer is not None for item in self.rows):
            was = counts["right"] + counts["worse"]
            parts.insert(0, line(("before ", tone("dim")), formatting.percent(was / count)))
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
                shown = Content.styled(printable(text.strip(), limit=MAX_CHARS) or "(nothing)", style)
                lines += hanging_indent(Content.styled(label, tone("dim")), shown, 10, width)
        return lines

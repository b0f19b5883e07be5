"""Rows answered before and after: which became right, and what was said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line, printable
from mg_tui.tui import words
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, hanging, joined, line, spread
from mg_tui.tui.widgets.models.talk import Asked
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
ONLY: Final[tuple[tuple[str, frozenset[Verdict]], ...]] = (
    ("all rows", frozenset(VERDICTS)),
    ("only what became right", frozenset({"better"})),
    ("only what became wrong", frozenset({"worse"})),
    ("only what is not right", frozenset({"worse", "wrong"})),
)
SHOWN: Final = 4_000


@dataclass(frozen=True, slots=True)
class Examined:
    """A row and its answers. Texts are as the dataset and the models wrote them: not safe to print."""

    row: int
    pictures: tuple[Path, ...]
    question: str
    expected: str
    answer: str
    before: str | None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Examined":
        """From the engine's record of a row."""
        pictures = tuple(Path(path) for path in record.get("images") or ())
        before = record.get("base_answer")
        return cls(
            int(record["row"]),
            pictures,
            str(record["prompt"]),
            str(record["expected"]),
            str(record["answer"]),
            None if before is None else str(before),
        )

    @property
    def right(self) -> bool:
        """Whether the model's answer is the expected one, blanks around it aside."""
        return self.answer.strip() == self.expected.strip()

    @property
    def verdict(self) -> Verdict:
        """What training did to it; without an answer from before, only whether it is right."""
        was = None if self.before is None else self.before.strip() == self.expected.strip()
        if self.right:
            return "better" if was is False else "right"
        return "worse" if was else "wrong"

    @property
    def asked(self) -> Asked:
        """The row as a question for a chat."""
        return Asked(self.question, self.pictures, self.expected, f"row {self.row}")


def verdict_text(item: Examined) -> Content:
    """The verdict as glyph and word."""
    glyph, word, name = VERDICTS[item.verdict]
    return Content.styled(f"{glyph} {word}", tone(name))


class ExaminedTable(Table[Examined]):
    """Every row that is answered."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("row", "Row", 5, right=True),
        Column("verdict", "", 8),
        Column("question", "Question", 14, grow=3, most=60, rank=3),
        Column("expected", "Expected", 12, grow=2, most=40, rank=1),
        Column("before", "Before", 12, grow=2, most=40, rank=2),
        Column("answer", "After", 12, grow=2, most=40),
    )

    def key_of(self, row: Examined) -> str:
        return str(row.row)

    def cell_of(self, row: Examined, key: str, width: int) -> Content:
        match key:
            case "row":
                return Content.styled(str(row.row), tone("dim"))
            case "verdict":
                return verdict_text(row)
            case "question":
                return Content(one_line(row.question[:SHOWN], limit=width + 1))
            case "expected":
                return Content(one_line(row.expected[:SHOWN], limit=width + 1))
            case "before":
                return Content.styled(one_line((row.before or "")[:SHOWN], limit=width + 1), tone("dim"))
            case _:
                style = tone("finished" if row.right else "failed")
                return Content.styled(one_line(row.answer[:SHOWN], limit=width + 1), style)


class ExamineHead(Lines):
    """How many were right before, how many are now."""

    DEFAULT_CSS = """
    ExamineHead { height: 2; padding: 0 1; background: $surface; }
    """
    state: reactive[str] = reactive("loading the model …", repaint=False)
    only: reactive[int] = reactive(0, repaint=False)
    where: reactive[str] = reactive("", repaint=False)

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self.rows: Sequence[Examined] = ()

    def watch_state(self) -> None:
        self.redraw()

    def watch_only(self) -> None:
        self.redraw()

    def watch_where(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        only = ONLY[self.only][0] if self.only and self.rows else ""
        said = Content.styled(only, tone("eval")) if only else Content.styled(self.state, tone("running"))
        first = spread(Content.styled(self._title, "bold"), said, width)
        if not self.rows:
            return [first, Content.styled(one_line(self.where), tone("dim"))]
        counts = {verdict: sum(item.verdict == verdict for item in self.rows) for verdict in VERDICTS}
        right, count = counts["better"] + counts["right"], len(self.rows)
        parts = [line(("exact match ", tone("dim")), (words.percent(right / count), "bold"), f"  {right}/{count}")]
        if all(item.before is not None for item in self.rows):
            was = counts["right"] + counts["worse"]
            parts.insert(0, line(("before ", tone("dim")), words.percent(was / count)))
        parts += [
            Content.styled(f"{glyph} {counts[verdict]} {word}", tone(name))
            for verdict, (glyph, word, name) in VERDICTS.items()
            if verdict in ("better", "worse") and counts[verdict]
        ]
        return [first, joined(parts, width)]


class ExaminedText(Lines):
    """One row in full."""

    DEFAULT_CSS = """
    ExaminedText { padding: 0 1; }
    """
    item: reactive[Examined | None] = reactive(None, repaint=False)

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
            ("before", item.before, tone("dim")),
            ("after", item.answer, tone("finished" if item.right else "failed", "bold")),
        ):
            if text is not None:
                shown = Content.styled(printable(text.strip(), limit=SHOWN) or "(nothing)", style)
                lines += hanging(Content.styled(label, tone("dim")), shown, 10, width)
        return lines

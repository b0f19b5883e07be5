"""The rows of an evaluation in a table, read when they become visible, and one of them in full."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isnan
from typing import ClassVar, Final

from textual.content import Content
from textual.geometry import Size
from textual.reactive import reactive

from mg_tui.core.text import one_line, printable
from mg_tui.tui.evaluations.answers import MAX_CHARS, AnswerView
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, hanging_indent, line
from mg_tui.tui.widgets.row_cache import RowCache, visible_range
from mg_tui.tui.widgets.table import Column, Table

# Glyph, word and tone of what became of a row.
MARKS: Final[Mapping[str, tuple[str, str, str]]] = {
    "fixed": ("▲", "fixed", "finished"),
    "broken": ("▼", "broken", "crashed"),
    "improved": ("▲", "improved", "finished"),
    "worsened": ("▼", "worsened", "crashed"),
    "right": ("✓", "right", "finished"),
    "wrong": ("✗", "wrong", "failed"),
    "error": ("!", "error", "failed"),
    "": (" ", "", "dim"),
}


def mark_text(mark: str) -> Content:
    """What became of a row, as glyph and word."""
    glyph, word, name = MARKS[mark]
    return Content.styled(f"{glyph} {word}".rstrip(), tone(name))


class AnswerTable(Table[int]):
    """Rows by their place in the index; only those that are visible are read."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("marked", "", 1),
        Column("row", "Row", 6, align_right=True),
        Column("mark", "", 10),
        Column("score", "Score", 5, align_right=True),
        Column("question", "Question", 14, grow=3, max_width=70, drop_rank=3),
        Column("reference", "Reference", 12, grow=2, max_width=44, drop_rank=1),
        Column("before", "Before", 10, grow=2, max_width=44, drop_rank=2),
        Column("answer", "Answer", 12, grow=2, max_width=44),
    )

    def __init__(self, request: Callable[[list[int]], None], *, id: str | None = None) -> None:
        """`request` is called with the places of rows to read."""
        super().__init__(id=id)
        self.marked: set[int] = set()  # numbers of rows
        self.number_at: Callable[[int], int] = lambda place: place
        self.mark_at: Callable[[int], str] = lambda _place: ""
        self.score_at: Callable[[int], float | None] = lambda _place: None
        self._request = request
        self._request_pending = False
        self._cache = RowCache[AnswerView]()

    def key_of(self, row: int) -> str:
        return str(row)

    # --- rows

    def show_places(self, places: Sequence[int], *, keep_cursor: bool = True) -> None:
        """Show these rows; the cursor stays on its row, or goes to the first one."""
        place = self.current if keep_cursor else None
        self.rows = places
        self.virtual_size = Size(0, len(places) + 1)
        self.cursor = min(_index_of(places, place, self.cursor if keep_cursor else 0), max(len(places) - 1, 0))
        self.post_message(self.Moved())
        self.refresh()

    def answers_read(self, answers: Iterable[AnswerView]) -> None:
        """Rows were read."""
        self._cache.store((answer.place, answer) for answer in answers)
        self.redraw_changed()

    def forget(self, places: Iterable[int] | None = None) -> None:
        """Read rows again: these, or all."""
        self._cache.forget(places)
        self.refresh()

    def answer_at(self, place: int) -> AnswerView | None:
        """A row, if it was read."""
        return self._cache.peek(place)

    def cached(self) -> list[AnswerView]:
        """The rows that were read lately."""
        return self._cache.values()

    # --- drawing

    def cell_of(self, row: int, key: str, width: int) -> Content:
        match key:
            case "marked":
                return Content.styled("●" if self.number_at(row) in self.marked else " ", tone("key", "bold"))
            case "row":
                return Content.styled(str(self.number_at(row)), tone("dim"))
            case "mark":
                return mark_text(self.mark_at(row))
            case "score":
                score = self.score_at(row)
                return Content("" if score is None or isnan(score) else f"{score:.2f}")
        answer = self._cache.get(row)
        if answer is None:
            return Content.styled("…" if key == "question" else "", tone("faint"))
        if answer.problem:
            return Content.styled(one_line(answer.problem, limit=200) if key == "answer" else "", tone("failed"))
        return _text_cell(answer, key, self.mark_at(row), width)

    def _row(self, row: int) -> Content:
        drawn = super()._row(row)
        if self._cache.missing and not self._request_pending:
            self._request_pending = True
            self.call_after_refresh(self._request_visible)
        return drawn

    def _request_visible(self) -> None:
        """Request the visible rows and some around them."""
        self._request_pending = self._cache.missing = False
        wanted = visible_range(self.scroll_offset.y, self.size.height, len(self.rows))
        if missing := self._cache.absent(self.rows[index] for index in wanted):
            self._request(missing)


def _index_of(places: Sequence[int], place: int | None, cursor: int) -> int:
    if place is None:
        return cursor
    try:
        return places.index(place)
    except ValueError:
        return 0


def _text_cell(answer: AnswerView, key: str, mark: str, width: int) -> Content:
    match key:
        case "question":
            return Content(one_line(answer.question[:MAX_CHARS], limit=width + 1))
        case "reference":
            return Content(one_line(" | ".join(answer.references)[:MAX_CHARS], limit=width + 1))
        case "before":
            return Content.styled(one_line((answer.before or "")[:MAX_CHARS], limit=width + 1), tone("dim"))
        case _:
            text = answer.error if answer.error is not None else answer.answer
            return Content.styled(one_line(text[:MAX_CHARS], limit=width + 1), tone(MARKS[mark][2]) if mark else "")


class AnswerText(Lines):
    """One row in full."""

    DEFAULT_CSS = """
    AnswerText { padding: 0 1; }
    """
    answer: reactive[AnswerView | None] = reactive(None, repaint=False)
    mark: reactive[str] = reactive("", repaint=False)

    def watch_answer(self) -> None:
        self.redraw()

    def watch_mark(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        answer = self.answer
        if answer is None:
            return [Content()]
        if answer.problem:
            return hanging_indent(Content.styled("✗", tone("failed")), Content(one_line(answer.problem)), 2, width)
        lines = [line((f"row {answer.number}  ", tone("dim")), mark_text(self.mark))]
        style = tone(MARKS[self.mark][2] if self.mark else "key", "bold")
        texts = [("asked", answer.question, "")]
        texts += [("reference", reference, "") for reference in answer.references[:8]]
        if answer.before is not None:
            error = answer.before_error
            texts.append(("before", answer.before if error is None else f"not answered: {error}", tone("dim")))
        now = answer.answer if answer.error is None else f"not answered: {answer.error}"
        texts.append(("answer", now, style))
        for label, text, style in texts:
            content = Content.styled(printable(text.strip(), limit=MAX_CHARS) or "(nothing)", style)
            lines += hanging_indent(Content.styled(label, tone("dim")), content, 11, width)
        return [*lines, *_fact_lines(answer, width)]


def _fact_lines(answer: AnswerView, width: int) -> list[Content]:
    before = dict(answer.before_scores)
    lines = []
    for name, score in answer.scores:
        was = f"before {before[name]:.3f}  " if name in before and not isnan(before[name]) else ""
        if not isnan(score):
            text = line((was, tone("dim")), f"{score:.3f}  ", (one_line(name, limit=60), tone("dim")))
            lines += hanging_indent(Content.styled("score", tone("dim")), text, 11, width)
    for name, value in answer.columns:
        label = Content.styled(one_line(name, limit=10), tone("faint"))
        lines += hanging_indent(label, Content.styled(one_line(value, limit=200), tone("dim")), 11, width)
    return lines

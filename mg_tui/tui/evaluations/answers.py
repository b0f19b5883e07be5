"""Answered rows as they are shown, and the thread that reads them when they become visible."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.core.errors import GardenError, describe_exception
from mg_tui.core.text import printable
from mg_tui.tui.models.conversation import ChatQuestion
from mg_tui.tui.posting import post

if TYPE_CHECKING:
    from mg_tui.metrics.results.index import IndexedRow, RowIndex

MAX_CHARS: Final = 4_000


@dataclass(frozen=True, slots=True)
class AnswerView:
    """A row with the answers of both models. Texts are as they were written: not safe to print.

    Attributes:
        place: in the index of the evaluation.
        before, before_scores: of the model that it is compared with; None where it has not answered.
        error, before_error: why there is no answer.
        problem: why the row cannot be read; then there is nothing else.
    """

    place: int
    number: int = 0
    question: str = ""
    answer: str = ""
    references: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    scores: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    before: str | None = None
    before_error: str | None = None
    before_scores: tuple[tuple[str, float], ...] = ()
    problem: str = ""

    @property
    def chat_question(self) -> ChatQuestion:
        """The row as a question for a chat."""
        expected = self.references[0] if self.references else None
        return ChatQuestion(self.question, self.images, expected, f"row {self.number}")

    def as_text(self) -> str:
        """The row as lines, to be copied."""
        lines = [f"row {self.number}", f"question: {self.question}"]
        lines += [f"reference: {reference}" for reference in self.references]
        lines += [f"before: {self.before}"] if self.before is not None else []
        lines += [f"not answered: {self.error}"] if self.error is not None else [f"answer: {self.answer}"]
        lines += [f"{name}: {score:g}" for name, score in self.scores]
        lines += [f"image: {path}" for path in self.images]
        return printable("\n".join(lines), limit=20_000)


def build_answer(place: int, found: "IndexedRow", before: "IndexedRow | None") -> AnswerView:
    """A row as it is shown."""
    row = found.row
    return AnswerView(
        place=place,
        number=row.row,
        question=str(row.question),
        answer=row.answer,
        references=tuple(map(_text, row.references)),
        images=tuple(Path(path) for path in row.images if isinstance(path, str)),
        columns=tuple((str(name), _text(value)) for name, value in row.columns.items() if value is not None),
        scores=tuple(found.scores.items()),
        error=None if row.error is None else str(row.error),
        before=None if before is None else before.row.answer,
        before_error=None if before is None or before.row.error is None else str(before.row.error),
        before_scores=() if before is None else tuple(before.scores.items()),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


class AnswersRead(Message):
    """Rows that were asked for, of this index."""

    def __init__(self, rows: "RowIndex", answers: Sequence[AnswerView]) -> None:
        super().__init__()
        self.rows, self.answers = rows, answers


class AnswerReader(threading.Thread):
    """Reads the rows that are asked for; only the newest request counts."""

    def __init__(self, target: MessagePump) -> None:
        super().__init__(daemon=True, name="answers")
        self._target = target
        self._request: tuple[RowIndex, RowIndex | None, list[int]] | None = None
        self._wake = threading.Condition()
        self._stopped = False

    def request(self, rows: "RowIndex", before: "RowIndex | None", places: Sequence[int]) -> None:
        """Read these places next."""
        with self._wake:
            self._request = (rows, before, list(places))
            self._wake.notify()

    def stop(self) -> None:
        """Let the thread finish; does not wait for it."""
        with self._wake:
            self._stopped = True
            self._wake.notify()

    def run(self) -> None:
        while True:
            with self._wake:
                while self._request is None and not self._stopped:
                    self._wake.wait()
                if self._stopped:
                    return
                assert self._request is not None
                (rows, before, places), self._request = self._request, None
            answers = [_read(rows, before, place) for place in places]
            if not post(self._target, AnswersRead(rows, answers)):
                return


def _read(rows: "RowIndex", before: "RowIndex | None", place: int) -> AnswerView:
    try:
        found = rows.read(place)
        other = before.place_of(found.row.row) if before is not None else None
        return build_answer(place, found, before.read(other) if before is not None and other is not None else None)
    except GardenError as error:
        return AnswerView(place, problem=error.what + (f": {error.why}" if error.why else ""))
    except Exception as error:  # a bug is shown in the row's place, and the others are read
        return AnswerView(place, problem=describe_exception(error))

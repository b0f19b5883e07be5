"""A conversation with a model: questions, answers as they come, and the messages the engine is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg_tui.tui.exact_match import is_same_answer


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """A question with its images, and the answer that a dataset expects, if it is from one. Texts are unsafe."""

    question: str = ""
    images: tuple[Path, ...] = ()
    expected: str | None = None
    source: str = ""


@dataclass(slots=True)
class Exchange:
    """A question and its answer so far.

    Attributes:
        generation: the engine's record, once the answer is complete.
        error: why there will be no answer; empty while there may be one.
    """

    question: ChatQuestion
    answer: str = ""
    generation: Mapping[str, Any] | None = None
    error: str = ""

    @property
    def finished(self) -> bool:
        """Whether the answer is complete or failed."""
        return self.generation is not None or bool(self.error)

    @property
    def is_correct(self) -> bool | None:
        """Whether the answer is the expected one; None when none is expected or it is incomplete."""
        if self.question.expected is None or self.generation is None:
            return None
        return is_same_answer(self.answer, self.question.expected)


def build_messages(exchanges: Sequence[Exchange], question: ChatQuestion) -> list[dict[str, Any]]:
    """The conversation so far and a new question, as the engine takes it; questions that failed are left out."""
    turns: list[dict[str, Any]] = []
    for exchange in exchanges:
        if exchange.generation is not None and exchange.answer.strip():
            turns.append(_user_message(exchange.question))
            turns.append({"role": "assistant", "text": exchange.answer})
    return [*turns, _user_message(question)]


def _user_message(question: ChatQuestion) -> dict[str, Any]:
    return {"role": "user", "text": question.question, "images": [str(path) for path in question.images]}

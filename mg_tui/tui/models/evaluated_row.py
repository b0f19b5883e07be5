"""A held-out row with the answers of a model and of its base model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mg_tui.tui.exact_match import is_same_answer
from mg_tui.tui.models.conversation import ChatQuestion

Verdict = Literal["better", "worse", "right", "wrong"]


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
        base_answer = record.get("base_answer")
        return cls(
            int(record["row"]),
            images,
            str(record["prompt"]),
            str(record["expected"]),
            str(record["answer"]),
            None if base_answer is None else str(base_answer),
        )

    @property
    def is_correct(self) -> bool:
        """Whether the model's answer is the expected one."""
        return is_same_answer(self.answer, self.expected)

    @property
    def verdict(self) -> Verdict:
        """What training changed; without an answer of the base model, only whether the answer is right."""
        base_is_correct = None if self.base_answer is None else is_same_answer(self.base_answer, self.expected)
        if self.is_correct:
            return "better" if base_is_correct is False else "right"
        return "worse" if base_is_correct else "wrong"

    @property
    def chat_question(self) -> ChatQuestion:
        """The row as a question for a chat."""
        return ChatQuestion(self.question, self.images, self.expected, f"row {self.row}")

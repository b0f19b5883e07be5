"""Who answers the rows of an evaluation: a model in this process, or a server."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.core.example import Example


@dataclass(frozen=True, slots=True)
class AnswerSampling:
    """How answers are drawn; `temperature` 0 is greedy. A row is drawn with the seed `seed` + its number."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    @classmethod
    def of(cls, spec: EvaluationSpec) -> "AnswerSampling":
        """That of an evaluation."""
        return cls(spec.max_new_tokens, spec.temperature, spec.top_p, spec.seed)


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """The answer to a row.

    Attributes:
        text: without blanks around it; empty when there is an error.
        error: why the row could not be answered.
        timing: what depends on the machine: seconds, tokens, first_token_seconds.
        image_sizes: for each image its original size and its size as processed for the model (None when not known):
            (width, height). Empty of a server.
    """

    example: Example
    text: str
    error: str | None = None
    timing: Mapping[str, Any] = field(default_factory=dict)
    image_sizes: tuple[tuple[tuple[int, int], tuple[int, int] | None], ...] = ()


Take = Callable[[ModelAnswer], None]
Poll = Callable[[], None]


class Answerer(Protocol):
    """Answers rows."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides the answers beside rows and sampling; JSON values, the same for the same model."""

    def answer(self, examples: Sequence[Example], done: frozenset[int], take: Take, poll: Poll) -> None:
        """Answer all rows but those of `done`, by number; `take` is given each answer as soon as it is there.

        Args:
            examples: all rows, in order; the same on every call, whatever is done.
            poll: called often; what it raises ends the work.
        """

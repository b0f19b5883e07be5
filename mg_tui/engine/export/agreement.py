"""How far two models answer the same rows alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mg_tui.engine.evaluation.answerer import ModelAnswer


@dataclass(frozen=True, slots=True)
class AnswerDifference:
    """A row that the two answered differently; `error` says why the other has no answer."""

    row: int
    model: str
    other: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class AnswerAgreement:
    """Greedy answers of a model and of another form of it.

    Attributes:
        rows: asked rows.
        alike: rows with the same answer, character by character.
        similarity: mean of 1 - edit distance / length of the longer answer.
        model_exact, other_exact: share of answers that are the reference.
        required: share of rows that have to be alike.
        differences: the other rows, in order.
        changed: rows that an adapter answers differently from its base model: the only ones that show whether it was
            applied; None for a whole model.
        as_base: rows among `differences` that the other answers as the base model does.
    """

    rows: int
    alike: int
    similarity: float
    model_exact: float
    other_exact: float
    required: float
    differences: tuple[AnswerDifference, ...]
    changed: int | None = None
    as_base: int = 0

    @property
    def share(self) -> float:
        """Share of rows with the same answer."""
        return self.alike / self.rows

    @property
    def agrees(self) -> bool:
        """Whether enough rows are answered alike."""
        return self.share >= self.required

    def as_dict(self) -> dict[str, Any]:
        """JSON values; shares to six digits."""
        return {
            "rows": self.rows,
            "alike": self.alike,
            "agreement": round(self.share, 6),
            "required": self.required,
            "agrees": self.agrees,
            "similarity": round(self.similarity, 6),
            "model_exact_match": round(self.model_exact, 6),
            "other_exact_match": round(self.other_exact, 6),
            "adapter_changes": self.changed,
            "answered_as_base": self.as_base,
            "differences": [
                {"row": each.row, "model": each.model, "other": each.other, "error": each.error}
                for each in self.differences
            ],
        }


def compare_answers(
    model: Sequence[ModelAnswer],
    other: Sequence[ModelAnswer],
    base: Sequence[ModelAnswer] | None = None,
    *,
    required: float = 1.0,
) -> AnswerAgreement:
    """Compare answers to the same examples in the same order; a row without an answer of both is never alike.

    Args:
        model: the model's answers, at least one.
        other: those of the other form.
        base: those of the base model of an adapter.
        required: share of rows that have to be alike.
    """
    from rapidfuzz.distance import Levenshtein

    differences, similarity, exact, changed, as_base = [], 0.0, [0, 0], 0, 0
    bases: Sequence[ModelAnswer | None] = [None] * len(model) if base is None else base
    for mine, theirs, plain in zip(model, other, bases, strict=True):
        failed = mine.error or theirs.error
        similarity += 0.0 if failed else Levenshtein.normalized_similarity(mine.text, theirs.text)
        reference = mine.example.response.strip()
        exact[0] += mine.error is None and mine.text == reference
        exact[1] += theirs.error is None and theirs.text == reference
        if failed or mine.text != theirs.text:
            differences.append(AnswerDifference(mine.example.row, mine.text, theirs.text, failed))
            as_base += plain is not None and not failed and theirs.text == plain.text
        changed += plain is not None and mine.text != plain.text
    count = len(model)
    return AnswerAgreement(
        rows=count,
        alike=count - len(differences),
        similarity=similarity / count,
        model_exact=exact[0] / count,
        other_exact=exact[1] / count,
        required=required,
        differences=tuple(differences),
        changed=None if base is None else changed,
        as_base=as_base,
    )

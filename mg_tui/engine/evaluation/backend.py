"""How a model in this process answers rows: the one place that hands them to batched generation.

In float32 an answer does not depend on the other rows (see `generation.generate`), so only the missing rows are
answered. In lower precision the last bits do depend on them: rows are then answered in fixed parts of the dataset, and
a part that was interrupted is answered again as a whole, so that an answer never depends on where that was.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import torch

from mg_tui.core.errors import GardenError
from mg_tui.core.example import Example
from mg_tui.engine.evaluation.answerer import AnswerSampling, ModelAnswer, Poll, Take
from mg_tui.engine.generation.budget import GenerationBudget
from mg_tui.engine.generation.generate import generate_rows
from mg_tui.engine.generation.interface import GenerationCallbacks, GenerationModel, RowAnswer
from mg_tui.engine.inference.generation import Sampling

_PART_BATCHES: Final = 2  # of a part, in rows that are decoded together: an interruption repeats at most a part


def answer_rows(
    model: GenerationModel,
    examples: Sequence[Example],
    sampling: AnswerSampling,
    batch_size: int | None,
    done: frozenset[int],
    take: Take,
    poll: Poll,
) -> None:
    """Answer rows; see `Answerer.answer`. Rows that share an image, or a text, share its computation.

    A row whose images cannot be read has an error in the place of an answer.

    Args:
        model: in evaluation mode.
        batch_size: rows decoded together; None: as many as memory allows.

    Raises:
        EnvironmentProblem: one row alone does not fit into memory.
    """
    budget = answer_budget(model, batch_size)
    drawn = Sampling(sampling.max_new_tokens, sampling.temperature, sampling.top_p, sampling.seed)
    for part in _parts(model, examples, _PART_BATCHES * budget.rows, done):
        poll()
        for answer in generate_rows(model, part, drawn, budget, callbacks=_callbacks(part, take, poll)):
            take(_model_answer(answer))


def answer_budget(model: GenerationModel, batch_size: int | None) -> GenerationBudget:
    """The memory budget, with a given number of rows decoded together."""
    budget = GenerationBudget.from_free_memory(model.model)
    return budget if batch_size is None else replace(budget, rows=batch_size)


def _parts(
    model: GenerationModel, examples: Sequence[Example], size: int, done: frozenset[int]
) -> Iterator[Sequence[Example]]:
    """The rows to answer, in parts that are answered together; none that is done already."""
    if model.model.dtype == torch.float32:
        missing = [example for example in examples if example.row not in done]
        if missing:
            yield missing
        return
    for start in range(0, len(examples), size):
        part = examples[start : start + size]
        if any(example.row not in done for example in part):
            yield part


def _callbacks(part: Sequence[Example], take: Take, poll: Poll) -> GenerationCallbacks:
    def problem(index: int, error: GardenError) -> None:
        take(ModelAnswer(part[index], "", error=" ".join(error.lines()[0].split())))

    def cancelled() -> bool:
        poll()  # raises
        return False

    return GenerationCallbacks(on_problem=problem, cancelled=cancelled)


def _model_answer(found: RowAnswer) -> ModelAnswer:
    answer = found.answer
    timing = {
        "seconds": round(answer.seconds, 4),
        "first_token_seconds": round(answer.first_token_seconds, 4),
        "tokens": answer.tokens,
    }
    return ModelAnswer(found.example, answer.text.strip(), timing=timing, image_sizes=answer.image_sizes)

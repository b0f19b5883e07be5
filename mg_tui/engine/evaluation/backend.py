"""How a model in this process answers rows: the one place that knows the generation code.

Rows are answered in fixed batches of consecutive rows. A batch that was interrupted is answered again as a whole, so
that an answer never depends on where an evaluation was interrupted: padding can change the last bits of a batch.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mg_tui.core.errors import DataError, EnvironmentProblem
from mg_tui.core.example import Example
from mg_tui.engine.evaluation.answerer import AnswerSampling, ModelAnswer, Poll, Take

if TYPE_CHECKING:
    from mg_tui.engine.inference.loading import LoadedModel
    from mg_tui.families.collate import ExampleEncoder


def answer_rows(
    loaded: "LoadedModel",
    examples: Sequence[Example],
    sampling: AnswerSampling,
    batch_size: int,
    done: frozenset[int],
    take: Take,
    poll: Poll,
) -> None:
    """Answer rows with a loaded model; see `Answerer.answer`.

    A row whose images cannot be read has an error in the place of an answer. A batch that does not fit into memory is
    halved.

    Raises:
        EnvironmentProblem: one row alone does not fit into memory.
    """
    from mg_tui.engine.inference.generation import make_encoder

    encoder = make_encoder(loaded.family, loaded.processor, loaded.metadata.preprocessing)
    size = batch_size if sampling.temperature == 0 else 1
    for start in range(0, len(examples), size):
        batch = examples[start : start + size]
        if all(example.row in done for example in batch):
            continue
        poll()
        for answer in _answer_batch(loaded, encoder, batch, sampling):
            take(answer)


def _answer_batch(
    loaded: "LoadedModel", encoder: "ExampleEncoder", batch: Sequence[Example], sampling: AnswerSampling
) -> list[ModelAnswer]:
    began = time.monotonic()
    try:
        if sampling.temperature == 0:
            from mg_tui.engine.inference.evaluate import generate_answers

            texts = generate_answers(loaded.model, encoder, batch, max_new_tokens=sampling.max_new_tokens)
        else:
            texts = [_sampled(loaded, encoder, example, sampling) for example in batch]
    except DataError as error:
        if len(batch) == 1:
            return [ModelAnswer(batch[0], "", error=" ".join(error.lines()[0].split()))]
    except EnvironmentProblem:
        if len(batch) == 1:
            raise
    else:
        seconds = round((time.monotonic() - began) / len(batch), 4)
        return [
            ModelAnswer(example, text.strip(), timing={"seconds": seconds})
            for example, text in zip(batch, texts, strict=True)
        ]
    half = len(batch) // 2
    parts = (batch[:half], batch[half:])
    return [answer for part in parts for answer in _answer_batch(loaded, encoder, part, sampling)]


def _sampled(loaded: "LoadedModel", encoder: "ExampleEncoder", example: Example, sampling: AnswerSampling) -> str:
    from mg_tui.data.images import open_image
    from mg_tui.engine.inference import generation

    drawn = generation.Sampling(
        sampling.max_new_tokens, sampling.temperature, sampling.top_p, sampling.seed + example.row
    )
    images = [open_image(ref.path) for ref in example.images]
    return generation.generate_answer(loaded.model, encoder, example.prompt, images, drawn).text

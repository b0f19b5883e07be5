"""Generation of one row at a time by the model's own `generate`, for models without support for batched generation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example
from mg_tui.engine.generation.interface import GenerationCallbacks, GenerationModel, RowAnswer
from mg_tui.engine.generation.prompts import image_refs, name_row
from mg_tui.engine.generation.row_state import resolve_seed
from mg_tui.engine.inference.generation import Sampling, generate_answer
from mg_tui.engine.inference.loading import translate_out_of_memory


def generate_sequentially(
    model: GenerationModel,
    examples: Sequence[Example],
    samplings: Sequence[Sampling],
    callbacks: GenerationCallbacks,
) -> Iterator[RowAnswer]:
    """Answers in the order of the rows; arguments and errors as of `generate_rows`."""
    from mg_tui.data.images import open_image

    seeds = {id(sampling): resolve_seed(sampling) for sampling in samplings}
    for index, (example, sampling) in enumerate(zip(examples, samplings, strict=True)):
        if callbacks.cancelled is not None and callbacks.cancelled():
            return
        try:
            images = [open_image(ref.path) for ref in image_refs(example)]
            with translate_out_of_memory(f"row {example.row}"):
                answer = generate_answer(
                    model.model,
                    model.encoder,
                    example.prompt,
                    images,
                    _with_row_seed(sampling, seeds[id(sampling)], example.row),
                    on_text=_bind_index(callbacks.on_text, index),
                    cancelled=callbacks.cancelled,
                )
        except DataError as error:
            named = name_row(error, example.row)
            if callbacks.on_problem is None:
                raise named from error
            callbacks.on_problem(index, named)
            continue
        if answer.finish_reason != "cancelled":
            yield RowAnswer(index, example, replace(answer, seed=seeds[id(sampling)]))


def _with_row_seed(sampling: Sampling, seed: int | None, row: int) -> Sampling:
    """A seed per row, so that an answer does not depend on the other rows."""
    if seed is None:
        return sampling
    row_seed = int.from_bytes(blake2b(f"{seed}/{row}".encode(), digest_size=4).digest())
    return replace(sampling, seed=row_seed)


def _bind_index(on_text: Callable[[int, str], None] | None, index: int) -> Callable[[str], None] | None:
    return None if on_text is None else lambda piece: on_text(index, piece)

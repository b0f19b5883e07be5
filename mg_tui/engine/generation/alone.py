"""Rows answered one at a time by the model's own `generate`: for models that cannot be asked otherwise."""

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example
from mg_tui.engine.answers.answer import Sampling, answer
from mg_tui.engine.generation.batch import AnsweringModel, Listeners, RowAnswer
from mg_tui.engine.generation.prompts import image_refs
from mg_tui.engine.generation.rows import seed_of


def one_by_one(
    model: AnsweringModel, examples: Sequence[Example], samplings: Sequence[Sampling], told: Listeners
) -> Iterator[RowAnswer]:
    """Answers in the order of the rows; errors as `generate_rows`."""
    from mg_tui.data.images import open_image
    from mg_tui.engine.answers.inference import memory_errors

    seeds = {id(one): seed_of(one) for one in samplings}
    for index, (example, sampling) in enumerate(zip(examples, samplings, strict=True)):
        if told.cancelled is not None and told.cancelled():
            return
        try:
            images = [open_image(ref.path) for ref in image_refs(example)]
            with memory_errors(f"row {example.row}"):
                found = answer(
                    model.model,
                    model.encoder,
                    example.prompt,
                    images,
                    _for_row(sampling, seeds[id(sampling)], example.row),
                    on_text=_pieces(told, index),
                    cancelled=told.cancelled,
                )
        except DataError as error:
            named = DataError(f"row {example.row}: {error.what}", where=error.where, why=error.why, hint=error.hint)
            if told.problem is None:
                raise named from error
            told.problem(index, named)
            continue
        if found.ended != "cancelled":
            yield RowAnswer(index, example, found)


def _for_row(sampling: Sampling, seed: int | None, row: int) -> Sampling:
    """The row's own seed, so that its answer depends on no other row."""
    if seed is None:
        return sampling
    own = int.from_bytes(blake2b(f"{seed}/{row}".encode(), digest_size=4).digest())
    return Sampling(sampling.max_new_tokens, sampling.temperature, sampling.top_p, own)


def _pieces(told: Listeners, index: int) -> Callable[[str], None] | None:
    listener = told.text
    return None if listener is None else lambda piece: listener(index, piece)

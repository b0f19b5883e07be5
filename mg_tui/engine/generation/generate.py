"""`generate_rows`: answers to many rows.

Rows with a common prefix, such as questions about one image, share it: the image is encoded once, the shared tokens are
computed once, and their keys and values are stored once. As many rows as the memory budget allows are decoded together;
a finished row makes room for a waiting one. In float32 a greedy answer equals that of `model.generate` for the row
alone, token for token.

Models for which that does not hold (see `support`) generate one row at a time, with a notice that states the reason.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from mg_tui.core.example import Example
from mg_tui.engine.generation.budget import GenerationBudget
from mg_tui.engine.generation.interface import GenerationCallbacks, GenerationModel, RowAnswer
from mg_tui.engine.inference.generation import Sampling
from mg_tui.engine.inference.loading import LoadedModel


def generate_rows(
    model: GenerationModel | LoadedModel,
    examples: Sequence[Example],
    sampling: Sampling | Sequence[Sampling] | None = None,
    budget: GenerationBudget | None = None,
    *,
    callbacks: GenerationCallbacks | None = None,
) -> Iterator[RowAnswer]:
    """Generate answers to the prompts of `examples`; yields them in order of completion.

    Between answers the model is unchanged and may be used, but its weights and adapters must not change before the last
    answer. When the iterator ends, raises or is closed, nothing is left on the device.

    Args:
        model: in evaluation mode.
        examples: a final answer is not part of the prompt.
        sampling: for all rows, or one per row; greedy by default. A row's random numbers depend only on the seed and on
            `Example.row`, so its answer does not depend on the other rows.
        budget: of memory; by default from the device's free memory. Out of memory halves it and restarts rows.
        callbacks: see `GenerationCallbacks`.

    Raises:
        DataError: a row cannot be read, and there is no `callbacks.on_problem`; the row is named.
        EnvironmentProblem: one row alone does not fit into memory; it is named.
        ValueError: the number of samplings differs from the number of rows.
    """
    if not isinstance(model, GenerationModel):
        model = GenerationModel.from_loaded(model)
    samplings = _per_row(sampling, len(examples))
    callbacks = callbacks or GenerationCallbacks()
    from mg_tui.engine.generation import support

    reason = support.unsupported_reason(model)
    if reason is not None:
        from mg_tui.engine.generation.sequential import generate_sequentially

        if callbacks.on_notice is not None:
            callbacks.on_notice(f"answers are generated one at a time: {reason}")
        answers = generate_sequentially(model, examples, samplings, callbacks)
    else:
        answers = _generate_batched(model, examples, samplings, budget, callbacks)
    yield from answers


def _per_row(sampling: Sampling | Sequence[Sampling] | None, rows: int) -> list[Sampling]:
    if sampling is None or isinstance(sampling, Sampling):
        return [sampling or Sampling()] * rows
    if len(sampling) != rows:
        raise ValueError(f"{len(sampling)} samplings for {rows} rows")
    return list(sampling)


def _generate_batched(
    model: GenerationModel,
    examples: Sequence[Example],
    samplings: Sequence[Sampling],
    budget: GenerationBudget | None,
    callbacks: GenerationCallbacks,
) -> Iterator[RowAnswer]:
    from mg_tui.engine.generation.image_features import ImageFeatures
    from mg_tui.engine.generation.model_runner import ModelRunner
    from mg_tui.engine.generation.row_queue import RowQueue
    from mg_tui.engine.generation.scheduler import Scheduler
    from mg_tui.families.split_encoding import SplitEncoder

    encoder, processor = SplitEncoder(model.encoder), model.encoder.processor
    images = ImageFeatures(model.model, encoder, cache=model.feature_cache)
    queue = RowQueue(encoder, examples, samplings, images, on_text=callbacks.on_text, on_problem=callbacks.on_problem)
    runner = ModelRunner(model.model, model.encoder.family.vision)
    budget = budget or GenerationBudget.from_free_memory(model.model)
    scheduler = Scheduler(runner, images, budget, end_token_ids(model.model))
    try:
        while callbacks.cancelled is None or not callbacks.cancelled():
            while not queue.is_empty and scheduler.waiting < scheduler.budget.rows:
                scheduler.add(queue.next_window(scheduler.budget.rows))
            if scheduler.is_idle:
                return
            for row in scheduler.step():
                if row.problem is not None:
                    queue.report(row.prompt.index, row.problem)
                else:
                    yield RowAnswer(row.prompt.index, row.prompt.example, row.to_answer(processor.tokenizer))
    finally:
        runner.close()
        scheduler.close()


def end_token_ids(model: Any) -> frozenset[int]:
    """The ids of the model's end tokens."""
    ids = model.generation_config.eos_token_id
    return frozenset([ids] if isinstance(ids, int) else ids or ())

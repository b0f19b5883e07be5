"""Answers to many rows: `generate_rows`.

Rows that begin alike, such as questions about one image, share what they begin with: the image is encoded once, the
shared tokens are computed once and their keys and values kept once. Rows decode together, as many as memory has room
for; a row that has ended makes room for the next. In float32 a greedy answer is, token for token, the one that the row
gets from `model.generate` alone.

A model for which this does not hold (see `support`) is asked one row at a time, and the reason is told.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mg_tui.core.errors import GardenError
from mg_tui.core.example import Example
from mg_tui.engine.answers.answer import Answer, Sampling, make_encoder
from mg_tui.engine.generation.budget import Budget
from mg_tui.families.collate import ExampleEncoder

if TYPE_CHECKING:
    from mg_tui.engine.answers.inference import Loaded
    from mg_tui.engine.steps.features import FeatureCache


@dataclass(frozen=True, slots=True)
class AnsweringModel:
    """A model that answers.

    Attributes:
        model: inside PEFT or not, without wrappers around that.
        encoder: lays out prompts as training does.
        features: where image features are kept, if they are: open for the model's tower, which must be frozen.
    """

    model: Any
    encoder: ExampleEncoder
    features: "FeatureCache | None" = None

    @classmethod
    def of(cls, loaded: "Loaded", features: "FeatureCache | None" = None) -> "AnsweringModel":
        """That of a model loaded for inference."""
        return cls(loaded.model, make_encoder(loaded.family, loaded.processor, loaded.contract.preprocessing), features)


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """The answer to a row; `index` is that of the row among those that were given."""

    index: int
    example: Example
    answer: Answer


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told what; none has to be.

    Attributes:
        answer: each answer as soon as it is whole.
        text: the index of a row, and a piece of its answer as soon as it is whole text.
        problem: the index of a row that cannot be read, and why; without it the first such row is an error.
        note: a sentence about how rows are answered.
        cancelled: asked before each token; rows whose answer is not whole by then are left out.
    """

    answer: Callable[[RowAnswer], None] | None = None
    text: Callable[[int, str], None] | None = None
    problem: Callable[[int, GardenError], None] | None = None
    note: Callable[[str], None] | None = None
    cancelled: Callable[[], bool] | None = None


def generate_rows(
    model: "AnsweringModel | Loaded",
    examples: Sequence[Example],
    sampling: Sampling | Sequence[Sampling] | None = None,
    budget: Budget | None = None,
    on_answer: Callable[[RowAnswer], None] | None = None,
    *,
    listeners: Listeners | None = None,
) -> Iterator[RowAnswer]:
    """Answer the prompts of `examples`; answers come in the order in which they are complete.

    The model is as it was whenever an answer is handed over, and may be used meanwhile, but not changed: adapters must
    stay as they are until the last answer. When the iterator ends, or is closed, nothing is left on the device.

    Args:
        model: in evaluation mode, which is the caller's business.
        examples: an answer that one ends in is left out of its prompt.
        sampling: for all rows, or for each; greedy when left out. A row draws by the seed and its own number
            (`Example.row`), so that its answer depends on no other row.
        budget: what may be on the device at once; by its free memory when left out. Where that proves too much it is
            halved, and rows are begun anew.
        on_answer: as `listeners.answer`.
        listeners: see there.

    Raises:
        DataError: a row cannot be read, and nobody listens to problems; the row is named.
        EnvironmentProblem: one row alone does not fit into memory; it is named.
        ValueError: there are not as many samplings as rows.
    """
    if not isinstance(model, AnsweringModel):
        model = AnsweringModel.of(model)
    samplings = _each(sampling, len(examples))
    told = listeners or Listeners()
    from mg_tui.engine.generation import support

    why_not = support.why_not(model)
    if why_not is not None:
        from mg_tui.engine.generation.alone import one_by_one

        if told.note is not None:
            told.note(f"rows are answered one at a time: {why_not}")
        found = one_by_one(model, examples, samplings, told)
    else:
        found = _together(model, examples, samplings, budget, told)
    for answer in found:
        for listener in (on_answer, told.answer):
            if listener is not None:
                listener(answer)
        yield answer


def _each(sampling: Sampling | Sequence[Sampling] | None, rows: int) -> list[Sampling]:
    if sampling is None or isinstance(sampling, Sampling):
        return [sampling or Sampling()] * rows
    if len(sampling) != rows:
        raise ValueError(f"{len(sampling)} samplings for {rows} rows")
    return list(sampling)


def _together(
    model: AnsweringModel,
    examples: Sequence[Example],
    samplings: Sequence[Sampling],
    budget: Budget | None,
    told: Listeners,
) -> Iterator[RowAnswer]:
    from mg_tui.engine.generation.feed import Feed, pixels_per_token
    from mg_tui.engine.generation.forward import Forward
    from mg_tui.engine.generation.images import ImageFeatures
    from mg_tui.engine.generation.scheduler import Scheduler
    from mg_tui.families.apart import ApartEncoder

    apart = ApartEncoder(model.encoder)
    images = ImageFeatures(model.model, apart, cache=model.features)
    feed = Feed(apart, examples, samplings, images, text=told.text, problem=told.problem)
    forward = Forward(model.model)
    scheduler = Scheduler(forward, images, budget or Budget.of(model.model), end_tokens(model.model))
    tokenizer, pixels = model.encoder.processor.tokenizer, pixels_per_token(model.encoder.processor)
    try:
        while told.cancelled is None or not told.cancelled():
            while not feed.empty and scheduler.waiting < scheduler.budget.rows:
                scheduler.add(feed.more(scheduler.budget.rows))
            if not scheduler.busy:
                return
            for row in scheduler.step():
                if row.problem is not None:
                    feed.fail(row.prompt.index, row.problem)
                else:
                    yield RowAnswer(row.prompt.index, row.prompt.example, row.answer(tokenizer, pixels))
    finally:
        forward.close()
        scheduler.close()


def end_tokens(model: Any) -> frozenset[int]:
    """Ids of the tokens that end an answer of this model."""
    ends = model.generation_config.eos_token_id
    return frozenset([ends] if isinstance(ends, int) else ends or ())

"""The token budget of a run: estimated before the model is loaded, and settled by the probe's measurement."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import GardenError
from mg_tui.core.example import Example
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.layout import budget
from mg_tui.engine.run.placement import Placement
from mg_tui.engine.run.training_data import TrainingData
from mg_tui.families.registry import ResolvedModel
from mg_tui.hardware.memory import ExampleSize, MemoryAdvisor, MemoryEstimate
from mg_tui.preflight import memory

LAYOUT_FILE: Final = "layout.json"  # in a checkpoint: how steps were laid out
_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """How long a packed forward pass may be.

    Attributes:
        tokens: the budget.
        why: for the journal.
        limits: what it may be; None when it is not to be changed by a measurement.
        question: the estimate; None where the model's size is not known.
        room: bytes that were free before the model was loaded.
    """

    tokens: int
    why: str
    bounds: budget.BudgetBounds | None
    question: MemoryAdvisor | None
    available_bytes: int

    @property
    def estimate(self) -> MemoryEstimate | None:
        """What a run with this budget needs."""
        return self.question.estimate(token_budget=self.tokens) if self.question is not None else None

    @property
    def enough(self) -> int | None:
        """Tokens with which a pass of rows that share nothing is long enough; None where longer ones are wanted."""
        asked = self.question
        if asked is None or asked.device != "cpu" or asked.spec.token_budget is not None:
            return None
        return budget.sufficient_tokens(asked.shape.language.width, small=asked.spec.gradient_checkpointing)

    def measured(self, found: budget.PassMeasurement) -> int:
        """The budget after a pass was measured.

        Raises:
            ValueError: this one is not to be changed.
        """
        if self.bounds is None or self.question is None:
            raise ValueError("a budget that was asked for is not changed by a measurement")
        coming = self.question.estimate().bytes_of("optimizer state")
        return budget.budget_from_measurement(memory_curve(self.question), self.bounds, found, coming=coming)


def choose_token_budget(
    spec: TrainingSpec,
    model: ResolvedModel,
    placed: Placement,
    data: TrainingData,
    *,
    encoder: Any = None,
    resumed: Path | None = None,
) -> TokenBudget:
    """The budget to begin with.

    Args:
        spec: the run.
        model: its base model.
        placed: where it runs.
        data: its rows.
        encoder: the collator, if it has a tokenizer: counts the tokens of answers.
        resumed: the checkpoint that is gone on from. Its budget is kept, so that steps are laid out as they would have
            been: the same to the last bit.
    """
    limits = budget.budget_bounds(
        longest=max(data.tokens), batch_size=spec.batch_size, per_step=spec.examples_per_step, cuda=placed.cuda
    )
    asked = make_memory_question(spec, model, placed, data, encoder)
    room = usable_memory(placed)
    if spec.token_budget is not None:
        return TokenBudget(spec.token_budget, "asked for", None, asked, room)
    if (kept := read_token_budget(resumed)) is not None:
        return TokenBudget(kept, "as it was when the checkpoint was written", None, asked, room)
    if asked is None:
        tokens = budget.budget_bounds(
            longest=max(data.tokens), batch_size=spec.batch_size, per_step=spec.examples_per_step, cuda=False
        ).target
        return TokenBudget(tokens, "the size of the model is not known, so it is not reckoned with", None, None, room)
    tokens = budget.budget_from_estimate(memory_curve(asked), limits, room)
    needed = asked.estimate(token_budget=tokens).peak
    why = f"estimated at {format_gib(needed)} of {format_gib(room)} that may be used"
    if needed > room:
        why += "; it may not fit even one row at a time"
    elif tokens < limits.target:
        why += f", which are too few for {limits.target:,} tokens"
    return TokenBudget(tokens, why, limits, asked, room)


def make_memory_question(
    spec: TrainingSpec, model: ResolvedModel, placed: Placement, data: TrainingData, encoder: Any
) -> MemoryAdvisor | None:
    """The estimate for this machine and these rows; None where the model's size is not known."""
    settled = spec.model_copy(
        update={"dtype": placed.dtype, "quantization": placed.quantization, "attention": placed.attention}
    )
    try:
        return MemoryAdvisor(
            shape=memory.model_shape(model),
            spec=settled,
            rows=tuple(workload_rows(spec, model, data, encoder)),
            image_tokens=memory.image_token_counter(model, spec),
            device="cuda" if placed.cuda else "cpu",
            can_pack=model.family is not None and model.family.layout is not None,
        )
    except GardenError:
        return None


def workload_rows(
    spec: TrainingSpec, model: ResolvedModel, data: TrainingData, encoder: Any, keep: int = 128
) -> list[ExampleSize]:
    """The rows that a largest forward pass can be made of, their tokens as they were counted."""
    count = memory.image_token_counter(model, spec)
    chosen = largest_examples(data.train, data.tokens, keep)
    rows = []
    for index in chosen:
        example, tokens = data.train[index], data.tokens[index]
        sizes = tuple((info.width, info.height) for info in data.infos_of(example))
        images = sum(count(*one, spec.min_pixels, spec.max_pixels) for one in sizes) if count is not None else 0
        text = max(tokens - images, 1)
        learned = text if spec.train_on_prompt else min(_count_answer_tokens(example, encoder), text)
        rows.append(ExampleSize(text, learned, sizes))
    return rows


def largest_examples(examples: Sequence[Example], tokens: Sequence[int], keep: int) -> list[int]:
    """Indices of the longest examples and of those with the longest answers, up to `keep` of each, longest first."""
    longest = sorted(range(len(examples)), key=lambda index: -tokens[index])[:keep]
    answers = sorted(range(len(examples)), key=lambda index: -len(examples[index].response))[:keep]
    return list(dict.fromkeys([*longest, *answers]))


def _count_answer_tokens(example: Example, encoder: Any) -> int:
    tokenizer = getattr(getattr(encoder, "processor", None), "tokenizer", None)
    if tokenizer is None:
        return -(-len(example.response.encode("utf-8", "surrogatepass")) // memory.BYTES_PER_TOKEN) + 1
    return len(tokenizer.encode(example.response, add_special_tokens=False)) + 1  # and the token that ends it


def memory_curve(question: MemoryAdvisor) -> budget.MemoryCurve:
    """What a pass of so many tokens needs, by the estimate."""
    return budget.MemoryCurve(
        total=lambda tokens: question.estimate(token_budget=max(tokens, 16)).peak,
        transient=lambda tokens: question.estimate(token_budget=max(tokens, 16)).transient,
    )


def usable_memory(placed: Placement) -> int:
    """Bytes that a run may count on: of the free memory of its GPU nearly all, of the machine's a part."""
    if placed.cuda:
        return int(budget.CUDA_MEMORY_SHARE * _free_device_memory(placed.device))
    from mg_tui.hardware.host import host_memory

    used, total = host_memory()
    return int(budget.HOST_MEMORY_SHARE * max(total - used, 0))


def _free_device_memory(device: str) -> int:
    """Free bytes of a GPU, asked of the driver: torch itself would make a context, before data workers are forked."""
    import torch

    try:
        used = int(torch.cuda.device_memory_used(device))
    except Exception:  # a driver that does not answer, or no binding for it
        return int(torch.cuda.mem_get_info(device)[0])
    return max(int(torch.cuda.get_device_properties(device).total_memory) - used, 0)


def read_token_budget(checkpoint: Path | None) -> int | None:
    """The budget that a checkpoint was written with; None when it has none."""
    if checkpoint is None:
        return None
    try:
        tokens = json.loads((checkpoint / LAYOUT_FILE).read_text(encoding="utf-8"))["token_budget"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return tokens if isinstance(tokens, int) and tokens > 0 else None


def write_token_budget(folder: Path, layout: Any) -> None:
    """Write the budget of a layout into a checkpoint's folder; nothing for a layout without one."""
    tokens = getattr(layout, "budget", None)
    if tokens is not None:
        (folder / LAYOUT_FILE).write_text(json.dumps({"token_budget": tokens}) + "\n", encoding="utf-8")


def format_gib(count: float) -> str:
    """Bytes in GiB, for a sentence."""
    return f"{count / _GIB:.1f} GiB"

"""The token budget of a run: estimated before the model is loaded, corrected by the probe's measurement."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg_tui.core.errors import GardenError
from mg_tui.core.example import Example
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import format_gib
from mg_tui.data.example_table import columns_of
from mg_tui.engine.layout import budget
from mg_tui.engine.layout.partition import World
from mg_tui.engine.run.placement import Placement
from mg_tui.engine.run.training_data import TrainingData
from mg_tui.families.registry import ResolvedModel
from mg_tui.hardware.memory import ExampleSize, MemoryAdvisor, MemoryEstimate
from mg_tui.preflight import memory
from mg_tui.runs.checkpoint_format import read_token_budget


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """How long a packed forward pass may be.

    Attributes:
        tokens: the budget.
        why: for the journal.
        bounds: its limits; None when a measurement must not change it.
        question: the memory estimate; None when the size of the model is not known.
        available_bytes: bytes that may be used, before the model is loaded.
    """

    tokens: int
    why: str
    bounds: budget.BudgetBounds | None
    question: MemoryAdvisor | None
    available_bytes: int

    @property
    def estimate(self) -> MemoryEstimate | None:
        """The memory of a run with this budget."""
        return self.question.estimate(token_budget=self.tokens) if self.question is not None else None

    @property
    def sufficient_tokens(self) -> int | None:
        """Tokens beyond which a pass of rows that share nothing gains nothing; None where longer is always better."""
        advisor = self.question
        if advisor is None or advisor.device != "cpu" or advisor.spec.token_budget is not None:
            return None
        return budget.sufficient_tokens(advisor.shape.language.width, small=advisor.spec.gradient_checkpointing)

    def after_measurement(self, measurement: budget.PassMeasurement) -> int:
        """The budget after a pass was measured.

        Raises:
            ValueError: the budget is fixed.
        """
        if self.bounds is None or self.question is None:
            raise ValueError("a fixed budget cannot be changed by a measurement")
        upcoming_bytes = self.question.estimate().bytes_of("optimizer state")
        return budget.budget_from_measurement(
            memory_curve(self.question), self.bounds, measurement, upcoming_bytes=upcoming_bytes
        )


def choose_token_budget(
    spec: TrainingSpec,
    model: ResolvedModel,
    placement: Placement,
    data: TrainingData,
    *,
    encoder: Any = None,
    resume_from: Path | None = None,
) -> TokenBudget:
    """The initial budget.

    Args:
        spec: the run.
        model: its base model.
        placement: where it runs.
        data: its rows.
        encoder: the collator, if it has a tokenizer: counts the tokens of answers.
        resume_from: the checkpoint to resume from. Its budget is used again, so that steps are laid out bit for bit as
            they would have been.
    """
    bounds = budget.budget_bounds(
        longest=max(data.tokens), batch_size=spec.batch_size, per_step=spec.examples_per_step, cuda=placement.cuda
    )
    try:
        advisor, why_unknown = make_memory_question(spec, model, placement, data, encoder), ""
    except GardenError as error:
        advisor, why_unknown = None, f"memory cannot be estimated: {error.what}"
    available = usable_memory(placement)
    if spec.token_budget is not None:
        return TokenBudget(spec.token_budget, "requested", None, advisor, available)
    if (saved_budget := read_token_budget(resume_from)) is not None:
        return TokenBudget(saved_budget, "from the checkpoint", None, advisor, available)
    if advisor is None:
        tokens = budget.budget_bounds(
            longest=max(data.tokens), batch_size=spec.batch_size, per_step=spec.examples_per_step, cuda=False
        ).target
        return TokenBudget(tokens, why_unknown, None, None, available)
    tokens = budget.budget_from_estimate(memory_curve(advisor), bounds, available)
    needed = advisor.estimate(token_budget=tokens).peak
    why = f"estimated at {format_gib(needed)} of {format_gib(available)} that may be used"
    if needed > available:
        why += "; it may not fit even one row at a time"
    elif tokens < bounds.target:
        why += f", which are too few for {bounds.target:,} tokens"
    return TokenBudget(tokens, why, bounds, advisor, available)


def make_memory_question(
    spec: TrainingSpec, model: ResolvedModel, placement: Placement, data: TrainingData, encoder: Any
) -> MemoryAdvisor:
    """The estimate for this machine and these rows.

    Raises:
        GardenError: the size of the model is not known.
    """
    resolved_spec = spec.model_copy(
        update={"dtype": placement.dtype, "quantization": placement.quantization, "attention": placement.attention}
    )
    return MemoryAdvisor(
        shape=memory.model_shape(model),
        spec=resolved_spec,
        rows=tuple(workload_rows(spec, model, data, encoder)),
        image_tokens=memory.image_token_counter(model, spec),
        device="cuda" if placement.cuda else "cpu",
        can_pack=model.family is not None and model.family.layout is not None,
    )


def workload_rows(
    spec: TrainingSpec, model: ResolvedModel, data: TrainingData, encoder: Any, keep: int = 128
) -> list[ExampleSize]:
    """The rows that the largest forward pass can consist of, with their counted tokens."""
    count = memory.image_token_counter(model, spec)
    chosen = largest_examples(data.train, data.tokens, keep)
    rows = []
    for index in chosen:
        example, tokens = data.train[index], data.tokens[index]
        sizes = tuple((info.width, info.height) for info in data.infos_of(example))
        images = sum(count(*size, spec.min_pixels, spec.max_pixels) for size in sizes) if count is not None else 0
        text = max(tokens - images, 1)
        supervised = text if spec.train_on_prompt else min(_count_answer_tokens(example, encoder), text)
        rows.append(ExampleSize(text, supervised, sizes))
    return rows


def largest_examples(examples: Sequence[Example], tokens: Sequence[int], keep: int) -> list[int]:
    """Indices of the longest examples and of those with the longest answers, up to `keep` of each, longest first."""
    longest = sorted(range(len(examples)), key=lambda index: -tokens[index])[:keep]
    lengths = columns_of(examples).answers
    answers = sorted(range(len(examples)), key=lambda index: -lengths[index])[:keep]
    return list(dict.fromkeys([*longest, *answers]))


def _count_answer_tokens(example: Example, encoder: Any) -> int:
    tokenizer = getattr(getattr(encoder, "processor", None), "tokenizer", None)
    if tokenizer is None:
        return -(-len(example.response.encode("utf-8", "surrogatepass")) // memory.BYTES_PER_TOKEN) + 1
    return len(tokenizer.encode(example.response, add_special_tokens=False)) + 1  # plus the end-of-turn token


def memory_curve(question: MemoryAdvisor) -> budget.MemoryCurve:
    """Memory by the tokens of a forward pass, from the estimate."""
    return budget.MemoryCurve(
        total=lambda tokens: question.estimate(token_budget=max(tokens, 16)).peak,
        transient=lambda tokens: question.estimate(token_budget=max(tokens, 16)).transient,
    )


def usable_memory(placement: Placement) -> int:
    """Bytes that a run may use: nearly all free memory of its GPU, or a part of the machine's."""
    if placement.cuda:
        return int(budget.CUDA_MEMORY_SHARE * _free_device_memory(placement.device))
    from mg_tui.hardware.host import host_memory

    used, total = host_memory()
    return int(budget.HOST_MEMORY_SHARE * max(total - used, 0)) // World.from_environment().local_size


def _free_device_memory(device: str) -> int:
    """Free bytes of a GPU, from the driver: torch would create a CUDA context before data workers are forked."""
    import torch
    from pynvml import NVMLError

    try:
        used = int(torch.cuda.device_memory_used(device))
    except (NVMLError, RuntimeError, ImportError):  # the driver does not tell, e.g. of a MIG slice
        return int(torch.cuda.mem_get_info(device)[0])
    return max(int(torch.cuda.get_device_properties(device).total_memory) - used, 0)

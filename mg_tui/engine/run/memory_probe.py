"""The first-step probe: the worst forward pass of the run, done once to see what memory it takes.

It does everything a step does but the optimizer's: real rows, forward and backward, gradients there as they are while
other passes of a step run. Its gradients are thrown away and random states put back, so training is to the last bit
what it is without. Then the token budget is set by what was measured.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy
import torch

from mg_tui.core.example import Example
from mg_tui.core.text import first_line, format_gib
from mg_tui.engine.batching.batches import MicroBatch, open_images
from mg_tui.engine.batching.vision_inputs import VisionInputs
from mg_tui.engine.layout.budget import CUDA_MEMORY_SHARE, PassMeasurement
from mg_tui.engine.run.placement import Placement
from mg_tui.engine.run.shrink_layout import shrink_layout
from mg_tui.engine.run.token_budget import TokenBudget

if TYPE_CHECKING:
    from mg_tui.engine.run.trainer import GardenTrainer


class DeviceMemoryMeter(Protocol):
    """Measures the memory of a device, in bytes."""

    def start(self) -> int:
        """Bytes held now, after everything that can be given back was; the peak counts from here."""
        ...

    def peak(self) -> int:
        """The most bytes held since `start`."""
        ...

    def room(self) -> int:
        """Bytes this process may have in all: what it holds and, but for a margin, what is free."""
        ...


@dataclass(frozen=True, slots=True)
class CudaMemoryMeter:
    """The memory that torch's allocator holds on a CUDA device, unused pieces of it included."""

    device: str

    def start(self) -> int:
        """See `DeviceMemoryMeter`."""
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        return int(torch.cuda.memory_reserved(self.device))

    def peak(self) -> int:
        """See `DeviceMemoryMeter`."""
        torch.cuda.synchronize(self.device)
        return int(torch.cuda.max_memory_reserved(self.device))

    def room(self) -> int:
        """See `DeviceMemoryMeter`."""
        free, _total = torch.cuda.mem_get_info(self.device)
        return int(CUDA_MEMORY_SHARE * free + torch.cuda.memory_reserved(self.device))


def memory_meter_of(placed: Placement) -> DeviceMemoryMeter | None:
    """What measures the device's memory; None on a CPU, whose allocator tells no peak."""
    return CudaMemoryMeter(placed.device) if placed.cuda else None


@dataclass(slots=True)
class MemoryProbe:
    """Measures the worst pass over steps that could be, and settles the budget.

    Args:
        meter: measures the device.
        sizing: the budget to begin with, and how a measurement changes it.
        steps: the examples of steps, one of which has the worst pass.
        measured: told (event fields) what was found, once.
    """

    meter: DeviceMemoryMeter
    token_budget: TokenBudget
    candidate_steps: Sequence[Sequence[Example]]
    measured: Callable[[dict[str, Any]], None]

    def __call__(self, trainer: "GardenTrainer", model: Any) -> None:
        """Do it, and set the budget of the trainer's layout.

        Raises:
            StepFailed: one example alone does not fit.
            DataError: an image cannot be read.
        """
        layout: Any = trainer.stream.dataset.layout
        images = open_images([example for step in self.candidate_steps for example in step])
        at_most = None
        while True:
            parts = largest_micro_batches([part for step in self.candidate_steps for part in layout(step, images)])
            try:
                found = max((self._measure(trainer, model, part) for part in parts), key=lambda one: one.peak_bytes)
                break
            except torch.OutOfMemoryError as error:
                why = first_line(error)
            shrink_layout(layout, model, parts, step=trainer.state.global_step + 1, why=why)
            at_most = layout.budget
        settled = self.token_budget.measured(found)
        layout.budget = settled if at_most is None else min(settled, at_most)
        self._say(found, layout.budget)

    def _say(self, found: PassMeasurement, tokens: int) -> None:
        estimate = (
            self.token_budget.question.estimate(token_budget=max(found.tokens, 16))
            if self.token_budget.question
            else None
        )
        # What it would have been with the estimate's own idea of what is there before a pass.
        expected = None if estimate is None else found.held_bytes + estimate.transient
        self.measured(
            {
                "tokens": found.tokens,
                "held_bytes": found.held_bytes,
                "measured_bytes": found.peak_bytes,
                "estimate_bytes": expected,
                "room_bytes": found.available_bytes,
                "budget": tokens,
                "why": f"the worst forward pass, of {found.tokens:,} tokens, took {format_gib(found.peak_bytes)} at its peak"
                + (f" where {format_gib(expected)} were estimated" if expected is not None else "")
                + f"; {format_gib(found.available_bytes)} can be had",
            }
        )

    def _measure(self, trainer: "GardenTrainer", model: Any, part: MicroBatch) -> PassMeasurement:
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        vision, facts = trainer.vision, trainer.step_metrics
        with preserve_rng_states():
            try:
                trainer.vision = VisionInputs(frozen=vision.frozen)
                for parameter in learned:
                    parameter.grad = torch.zeros_like(parameter)
                held = self.meter.start()
                with trainer.gradient_sync.apart(model):
                    trainer._forward_backward(model, part, 1.0 / max(part.targets.numel(), 1))
                peak = self.meter.peak()
                return PassMeasurement(part.computed_tokens, held, peak, self.meter.room())
            finally:
                trainer.vision, trainer.step_metrics = vision, facts
                for parameter in learned:
                    parameter.grad = None


def largest_micro_batches(parts: Sequence[MicroBatch]) -> list[MicroBatch]:
    """The pass with most tokens, and the one with most positions to learn where that is another."""
    longest = max(parts, key=lambda part: part.computed_tokens)
    learned = max(parts, key=lambda part: part.targets.numel())
    return [longest] if learned is longest else [longest, learned]


@contextmanager
def preserve_rng_states() -> Iterator[None]:
    """A block after which every random generator that training draws from is where it was."""
    ours, theirs, cpu = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    try:
        yield
    finally:
        random.setstate(ours)
        numpy.random.set_state(theirs)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)

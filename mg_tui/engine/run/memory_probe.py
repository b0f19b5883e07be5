"""The first-step probe: runs the largest forward pass of the run once to measure its memory.

It does everything a step does except the optimizer: real rows, forward and backward, with gradients allocated as they
are while other passes of a step run. Its gradients are discarded and random states restored, so training is bit for bit
the same as without it. Then the token budget is set from the measurement.
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
        """Bytes in use now, after unused memory was returned to the device; resets the peak."""
        ...

    def peak(self) -> int:
        """The most bytes in use since `start`."""
        ...

    def room(self) -> int:
        """Bytes this process may use in all: those in use and, minus a margin, those that are free."""
        ...


@dataclass(frozen=True, slots=True)
class CudaMemoryMeter:
    """The memory that torch's allocator reserves on a CUDA device, its unused blocks included."""

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


def memory_meter_of(placement: Placement) -> DeviceMemoryMeter | None:
    """The memory meter of the device; None on a CPU, whose allocator reports no peak."""
    return CudaMemoryMeter(placement.device) if placement.cuda else None


@dataclass(slots=True)
class MemoryProbe:
    """Measures the largest forward pass among candidate steps, and sets the token budget.

    Args:
        meter: measures the device.
        token_budget: the initial budget, and how a measurement changes it.
        candidate_steps: examples of steps, one of which has the largest pass.
        on_measured: called once with the fields of the `measured` event.
    """

    meter: DeviceMemoryMeter
    token_budget: TokenBudget
    candidate_steps: Sequence[Sequence[Example]]
    on_measured: Callable[[dict[str, Any]], None]

    def __call__(self, trainer: "GardenTrainer", model: Any) -> None:
        """Measure, and set the budget of the trainer's layout.

        Raises:
            StepFailed: one example alone does not fit.
            DataError: an image cannot be read.
        """
        layout: Any = trainer.stream.dataset.layout
        images = open_images([example for step in self.candidate_steps for example in step])
        shrunk_budget = None
        while True:
            parts = largest_micro_batches([part for step in self.candidate_steps for part in layout(step, images)])
            try:
                measurement = max(
                    (self._measure(trainer, model, part) for part in parts), key=lambda result: result.peak_bytes
                )
                break
            except torch.OutOfMemoryError as error:
                why = first_line(error)
            shrink_layout(layout, model, parts, step=trainer.state.global_step + 1, why=why)
            shrunk_budget = layout.budget
        new_budget = self.token_budget.after_measurement(measurement)
        layout.budget = new_budget if shrunk_budget is None else min(new_budget, shrunk_budget)
        self._report(measurement, layout.budget)

    def _report(self, measurement: PassMeasurement, tokens: int) -> None:
        estimate = (
            self.token_budget.question.estimate(token_budget=max(measurement.tokens, 16))
            if self.token_budget.question
            else None
        )
        # The estimate of the pass itself, on top of the memory that was really in use before it.
        expected = None if estimate is None else measurement.held_bytes + estimate.transient
        took = f"{measurement.tokens:,} tokens, took {format_gib(measurement.peak_bytes)}"
        self.on_measured(
            {
                "tokens": measurement.tokens,
                "held_bytes": measurement.held_bytes,
                "measured_bytes": measurement.peak_bytes,
                "estimate_bytes": expected,
                "room_bytes": measurement.available_bytes,
                "budget": tokens,
                "why": f"the largest forward pass, of {took}"
                + (f" (estimated {format_gib(expected)})" if expected is not None else "")
                + f"; {format_gib(measurement.available_bytes)} are available",
            }
        )

    def _measure(self, trainer: "GardenTrainer", model: Any, part: MicroBatch) -> PassMeasurement:
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        vision, facts = trainer.vision, trainer.step_metrics
        with preserve_rng_states():
            try:
                trainer.vision = VisionInputs(frozen=vision.frozen, vision=vision.vision)
                for parameter in trainable:
                    parameter.grad = torch.zeros_like(parameter)
                held_bytes = self.meter.start()
                trainer._forward_backward(model, part, 1.0 / max(part.targets.numel(), 1))
                peak = self.meter.peak()
                return PassMeasurement(part.computed_tokens, held_bytes, peak, self.meter.room())
            finally:
                trainer.vision, trainer.step_metrics = vision, facts
                for parameter in trainable:
                    parameter.grad = None


def largest_micro_batches(parts: Sequence[MicroBatch]) -> list[MicroBatch]:
    """The pass with most tokens, and the one with most supervised positions if that is another."""
    longest = max(parts, key=lambda part: part.computed_tokens)
    most_supervised = max(parts, key=lambda part: part.targets.numel())
    return [longest] if most_supervised is longest else [longest, most_supervised]


@contextmanager
def preserve_rng_states() -> Iterator[None]:
    """Restores the state of every random generator that training uses after the block."""
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

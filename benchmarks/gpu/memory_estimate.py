"""The memory estimate and the measured peak of a step: of tensors, of the allocator, and by NVML."""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from device import Device, DriverMemory, median_seconds, open_device
from inputs import load_config
from model import load_engine_model, spec_of
from packed_pass import PassShape, Stepper, make_batch
from tasks import BenchmarkSetting, TaskReport

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.batching.batches import MicroBatch
from mg_tui.hardware.memory.assumptions import CUBLAS_WORKSPACE, CUDA_CONTEXT, FRAGMENTATION
from mg_tui.hardware.memory.phases import phases_of_step
from mg_tui.hardware.memory.training_setup import resolve_setup
from mg_tui.hardware.memory.weights import base_bytes, optimizer_bytes, trainable_bytes, trainable_counts
from mg_tui.hardware.memory.workload import Workload


@dataclass(frozen=True, slots=True)
class EstimateCase:
    """A forward pass, with or without activation checkpointing."""

    shape: PassShape
    checkpointing: bool

    @property
    def name(self) -> str:
        """For the report."""
        pixels, tokens = self.shape.side * 14, self.shape.tokens
        return f"{pixels} px, {tokens:,} tokens" + ("" if self.checkpointing else ", no checkpointing")


def list_cases(*, dry: bool) -> Iterator[EstimateCase]:
    """The cases in order of priority."""
    if dry:
        yield from (EstimateCase(PassShape(8, 128), True), EstimateCase(PassShape(8, 128), False))
        return
    for checkpointing in (True, False):
        for side, tokens in ((32, 4096), (32, 1024), (32, 8192), (32, 2048), (72, 4096), (72, 8192)):
            yield EstimateCase(PassShape(side, tokens), checkpointing)


def estimate_task(quantization: str) -> Callable[[TaskReport, BenchmarkSetting], None]:
    """A task: all cases of a model with this quantization."""

    def run(report: TaskReport, setting: BenchmarkSetting) -> None:
        driver = DriverMemory(setting)
        device, config = open_device(setting), load_config(setting)
        spec = spec_of(setting, quantization=quantization, dtype="float32" if setting.dry else "bfloat16")
        started = time.perf_counter()
        model = load_engine_model(spec)
        device.synchronize()
        report.put(quantization=quantization, load_seconds=time.perf_counter() - started)
        blocks = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
        for case in list_cases(dry=setting.dry):
            if report.seconds_left() < 3:
                report.add("omitted", case.name)
                continue
            for block in blocks:
                block.gradient_checkpointing = case.checkpointing
            try:
                report.add("cases", _measure(case, spec, model, config, device, driver))
            except torch.OutOfMemoryError as error:
                report.add("cases", {"name": case.name, "why_not": str(error).splitlines()[0][:200]})
            model.zero_grad(set_to_none=True)
            gc.collect()

    return run


def _measure(
    case: EstimateCase, spec: TrainingSpec, model: Any, config: dict[str, Any], device: Device, driver: DriverMemory
) -> dict[str, Any]:
    part = make_batch(case.shape, config, device)
    spec = spec.model_copy(update={"gradient_checkpointing": case.checkpointing})
    stepper = Stepper(model, device)
    stepper.step(part)  # allocates the optimizer state, compiles and loads kernels
    device.reset_peaks()
    driver.reset_peak()
    losses: list[float] = []
    seconds = median_seconds(lambda: losses.append(stepper.step(part)), device, 1 if device.dry else 3)
    result = {
        "name": case.name,
        "checkpointing": case.checkpointing,
        "loss_method": stepper.objective.method[0],
        "rows": len(part.rows),
        "laid_out": part.laid_out,
        "seconds": seconds,
        "tokens_per_second": part.tokens / seconds,
        "loss": losses[-1],
        "peak": {**device.peaks(), "driver": driver.peak()},
        "estimate": _estimate(case, spec, config, part, cuda=not device.dry),
    }
    stepper.objective.close()
    return result


def _estimate(
    case: EstimateCase, spec: TrainingSpec, config: dict[str, Any], part: MicroBatch, *, cuda: bool
) -> dict[str, float | str]:
    """Bytes of exactly this forward pass: of tensors, reserved by the allocator, and of the device."""
    from mg_qwen2_5_vl.shape import model_shape

    shape, training = model_shape(config), resolve_setup(spec, device="cuda" if cuda else "cpu")
    patches = len(part.inputs["image_grid_thw"]) * case.shape.side**2
    work = Workload(1, part.laid_out or 0, part.targets.numel(), patches, len(part.rows), True, True)
    trainable = sum(counts.numbers for counts in trainable_counts(shape, training).values())
    static = sum(base_bytes(shape, training).values()) + trainable_bytes(shape, training) + 4 * trainable
    static += optimizer_bytes(trainable, training)
    largest = max(phases_of_step(shape, training, work), key=lambda phase: phase.bytes)
    reserved = static + largest.bytes * (1 + FRAGMENTATION)
    return {
        "static": static,
        "step": largest.bytes,
        "phase": largest.name,
        "tensors": static + largest.bytes,
        "reserved": reserved,
        "device": reserved + CUDA_CONTEXT + CUBLAS_WORKSPACE,
    }

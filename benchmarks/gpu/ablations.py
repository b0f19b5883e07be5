"""Time and memory of a step with and without each of the engine's optimizations, on CUDA.

None of them changes results (tests compare them). An optimization is worthwhile if it saves 2 % of time or 5 % of
memory.
"""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from device import median_seconds, open_device
from inputs import load_config
from model import load_engine_model, spec_of
from packed_pass import PassShape, Stepper, make_batch
from tasks import BenchmarkSetting, TaskReport
from torch import nn
from torch.nn import functional

from mg_tui.engine.batching.batches import MicroBatch
from mg_tui.engine.compute import fused_lora, patch_embedding, swiglu
from mg_tui.engine.compute.loss import token_loss_sum

LEAST_TIME_RATIO, LEAST_MEMORY_RATIO = 1.02, 1.05  # without over with
ROUNDS = 2

Without = Callable[[Stepper], Any]  # a context in which an optimization is off


def run_ablations(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: the optimizations of a QLoRA run in nf4, then Liger's kernels in place of ours if it is installed."""
    stepper, part = _stepper_and_batch(setting, quantization="none" if setting.dry else "nf4")
    for name, without in OPTIMIZATIONS.items():
        if report.seconds_left() < 4:
            report.add("omitted", name)
            continue
        report.add("ablations", ablate(name, stepper, part, without))
    if importlib.util.find_spec("liger_kernel") is None or setting.dry:
        report.put(liger={"why_not": "needs CUDA" if setting.dry else "liger-kernel is not installed"})
    elif report.seconds_left() > 6:
        ours = _measure(stepper, part)
        report.put(liger={"ours": ours, "liger": _measure_with_liger(stepper, part)})


def ablate_fused_lora(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: LoRA layers as one function, on a model that is not quantized.

    The engine uses it in float32 on a CPU; this tries it on CUDA in bfloat16, with the adapter cast at each use.
    """
    stepper, part = _stepper_and_batch(setting, quantization="none")
    layers = [module for module in stepper.model.modules() if _is_lora(module)]
    if not setting.dry:
        for layer in layers:
            layer.forward = _fused_forward(layer)

    @contextmanager
    def without(_stepper: Stepper) -> Iterator[None]:
        fused = [layer.__dict__.pop("forward") for layer in layers]
        yield
        for layer, forward in zip(layers, fused, strict=True):
            layer.forward = forward

    report.put(layers=len(layers))
    report.add("ablations", ablate("LoRA as one function, not quantized", stepper, part, without))


def ablate(name: str, stepper: Stepper, part: MicroBatch, without: Without) -> dict[str, Any]:
    """Steps with and without an optimization, alternating. Ratios are without over with."""
    results: dict[str, list[dict[str, Any]]] = {"with": [], "without": []}
    for _ in range(1 if stepper.device.dry else ROUNDS):
        results["with"].append(_measure(stepper, part))
        with without(stepper):
            results["without"].append(_measure(stepper, part))
    best = {
        key: {name: min(result[name] for result in rounds) for name in ("seconds", "peak", "loss")}
        for key, rounds in results.items()
    }
    time_ratio = best["without"]["seconds"] / best["with"]["seconds"]
    memory_ratio = best["without"]["peak"] / best["with"]["peak"]
    worthwhile = time_ratio >= LEAST_TIME_RATIO or memory_ratio >= LEAST_MEMORY_RATIO
    return {"name": name, **best, "time_ratio": time_ratio, "memory_ratio": memory_ratio, "worthwhile": worthwhile}


def _measure(stepper: Stepper, part: MicroBatch) -> dict[str, Any]:
    loss = stepper.step(part)
    stepper.device.reset_peaks()
    seconds = median_seconds(lambda: stepper.step(part), stepper.device)
    return {"seconds": seconds, "peak": stepper.device.peaks()["allocated"], "loss": loss}


def _stepper_and_batch(setting: BenchmarkSetting, quantization: str) -> tuple[Stepper, MicroBatch]:
    device = open_device(setting)
    dtype = "float32" if setting.dry else "bfloat16"
    model = load_engine_model(spec_of(setting, quantization=quantization, dtype=dtype))
    shape = PassShape(8, 128, 1) if setting.dry else PassShape(32, 4096, 5)
    return Stepper(model, device), make_batch(shape, load_config(setting), device)


def _without_forwards_of(optimization: ModuleType) -> Without:
    """Modules whose `forward` was replaced by this module of the engine use their original one."""

    @contextmanager
    def without(stepper: Stepper) -> Iterator[None]:
        forwards = [(module, module.__dict__.get("forward")) for module in stepper.model.modules()]
        replaced = [pair for pair in forwards if type(pair[1]).__module__ == optimization.__name__]
        if not replaced:
            raise RuntimeError(f"{optimization.__name__} has replaced nothing in the model")
        for module, _forward in replaced:
            del module.forward
        yield
        for module, forward in replaced:
            module.forward = forward

    return without


@contextmanager
def _full_last_layer(stepper: Stepper) -> Iterator[None]:
    """The last layer at all positions; the fused output layer and loss at supervised positions."""
    with mock.patch.object(stepper.objective.last_layer, "available", False):
        yield


@contextmanager
def _all_logits(stepper: Stepper) -> Iterator[None]:
    """Logits and loss at all positions, as in transformers' models with labels."""

    def mean_loss(part: MicroBatch) -> torch.Tensor:
        inputs = stepper.vision(stepper.model, part.inputs)
        logits = stepper.model(**inputs, use_cache=False).logits[0].float()
        return token_loss_sum(logits[part.positions], part.targets) / part.targets.numel()

    with _full_last_layer(stepper), mock.patch.object(stepper, "mean_loss", mean_loss):
        yield


@contextmanager
def _supervised_logits(stepper: Stepper) -> Iterator[None]:
    """Logits at supervised positions, then the loss, as in TRL."""

    def mean_loss(part: MicroBatch) -> torch.Tensor:
        inputs = stepper.vision(stepper.model, part.inputs)
        logits = stepper.objective.supervised_head(stepper.model, inputs, part.positions)
        return functional.cross_entropy(logits.float(), part.targets)

    with _full_last_layer(stepper), mock.patch.object(stepper, "mean_loss", mean_loss):
        yield


OPTIMIZATIONS: dict[str, Without] = {
    "loss at supervised positions, instead of all logits": _all_logits,
    "loss at supervised positions, instead of supervised logits": _supervised_logits,
    "last layer at supervised positions": _full_last_layer,
    "gated blocks as one function": _without_forwards_of(swiglu),
    "patch embedding as a matrix product": _without_forwards_of(patch_embedding),
}


def _is_lora(module: Any) -> bool:
    from peft.tuners.lora.layer import Linear

    return type(module) is Linear and type(module.get_base_layer()) is nn.Linear


def _fused_forward(layer: Any) -> Callable[..., torch.Tensor]:
    """As `fused_lora`, in the dtype of the base weights."""
    base, (name,) = layer.get_base_layer(), layer.active_adapters
    inner, outer, scaling = layer.lora_A[name].weight, layer.lora_B[name].weight, float(layer.scaling[name])

    def forward(x: torch.Tensor, *_args: Any, **_options: Any) -> torch.Tensor:
        dtype = base.weight.dtype
        arguments = (x.to(dtype), base.weight, base.bias, inner.to(dtype), outer.to(dtype), scaling)
        output: torch.Tensor = fused_lora._FusedLora.apply(*arguments)
        return output

    return forward


def _measure_with_liger(stepper: Stepper, part: MicroBatch) -> dict[str, Any]:
    """Liger's norms, rotary positions and gated blocks, with our loss. Cannot be undone: measure it last."""
    from liger_kernel.transformers import apply_liger_kernel_to_qwen2_5_vl

    model = stepper.model.get_base_model()
    apply_liger_kernel_to_qwen2_5_vl(model=model, fused_linear_cross_entropy=False, cross_entropy=False)
    return _measure(stepper, part)

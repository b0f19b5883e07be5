"""Models of any size with random weights, created on the device: nothing is downloaded or read from disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from inputs import checkpoint_folder
from tasks import BenchmarkSetting
from torch import nn

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run import setup
from mg_tui.families.contract import LoadRequest
from mg_tui.families.family import ModelFamily

INITIALIZER_RANGE = 0.02  # standard deviation of the weights, as in the configurations of such models


def spec_of(setting: BenchmarkSetting, size: str | None = None, **options: Any) -> TrainingSpec:
    """The spec of a run of a model on the device, with default options."""
    values = {"base_model": str(checkpoint_folder(setting, size)), "dataset": "-"}
    return TrainingSpec.parse({**values, "device": "cpu" if setting.dry else "cuda", **options})


def load_engine_model(spec: TrainingSpec) -> Any:
    """The model as the engine prepares it for training, with random weights."""
    with random_weights():
        model, _decisions = setup.load_model(spec, setup.load_run_context(spec))
    return model.train()


@contextmanager
def random_weights() -> Iterator[None]:
    """A block in which the engine's models get random weights instead of those of a checkpoint."""
    registry = setup.load_registry()
    families = tuple(replace(family, load_model=load_random_model) for family in registry.families)
    patched = replace(registry, families=families)
    with mock.patch.object(setup, "load_registry", lambda: patched):
        yield


def load_random_model(_family: ModelFamily | None, request: LoadRequest) -> Any:
    """Replaces a family's `load_model`. Weights are created layer by layer, so that a quantized model never takes more
    memory than itself and one layer.

    Raises:
        ValueError: int8, which is not supported.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText

    if request.quantization == "int8":
        raise ValueError("random weights in int8 are not supported")
    config, dtype = AutoConfig.from_pretrained(request.source), getattr(torch, request.dtype)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation=request.attention)
    torch.manual_seed(0)
    if request.quantization == "nf4":
        _quantize(model, request.device, dtype)
    _initialize(model, request.device)
    for module in model.modules():  # buffers that are computed from the configuration, not stored in checkpoints
        if hasattr(module, "inv_freq"):
            _initialize_rotary(module, request.device)
    return model.eval()


def _quantize(model: Any, device: str, dtype: torch.dtype) -> None:
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, layer in list(model.named_modules()):
        if not isinstance(layer, nn.Linear) or not name.startswith("model.language_model"):
            continue
        quantized = Linear4bit(
            layer.in_features, layer.out_features, layer.bias is not None, dtype, True, "nf4", device="meta"
        ).to_empty(device="cpu")
        values = torch.randn(layer.out_features, layer.in_features, dtype=dtype, device=device) * INITIALIZER_RANGE
        weight = Params4bit(values, requires_grad=False, quant_type="nf4", compress_statistics=True)
        quantized.weight = weight.to(device)  # which quantizes it
        if layer.bias is not None:
            quantized.bias = nn.Parameter(torch.zeros(layer.out_features, dtype=dtype, device=device), False)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, quantized)
    model.is_loaded_in_4bit = True


def _initialize(model: Any, device: str) -> None:
    created: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, weight in list(module._parameters.items()):
            if weight is None or not weight.is_meta:
                continue
            if id(weight) not in created:  # tied weights stay tied
                values = torch.randn(weight.shape, dtype=weight.dtype, device=device) * INITIALIZER_RANGE
                if weight.ndim == 1:
                    values = torch.zeros_like(values) if name == "bias" else torch.ones_like(values)
                created[id(weight)] = nn.Parameter(values, requires_grad=False)
            module._parameters[name] = created[id(weight)]
        for name, buffer in list(module._buffers.items()):
            if buffer is not None and buffer.is_meta:
                module._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype, device=device)


def _initialize_rotary(module: Any, device: str) -> None:
    """Frequencies of rotary positions: 1 / theta^(2i / width)."""
    count = module.inv_freq.shape[0]
    theta = float(getattr(module, "theta", 10_000.0))
    steps = torch.arange(0, 2 * count, 2, dtype=torch.float32, device=device) / (2 * count)
    module.inv_freq = 1.0 / theta**steps
    if getattr(module, "original_inv_freq", None) is not None:
        module.original_inv_freq = module.inv_freq

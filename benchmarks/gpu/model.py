"""Qwen2.5-VL of any size with random weights, built on the device from its configuration: nothing is downloaded."""

import json
from pathlib import Path
from typing import Any

import torch
from machine import Device
from torch import nn

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.compute import optimizations
from mg_tui.engine.compute.activation_checkpointing import checkpoint_activations
from mg_tui.engine.run import trainable_parameters
from mg_tui.families.registry import load_registry

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "plugins" / "qwen2_5_vl" / "tests" / "configs"
INITIALIZER_RANGE = 0.02  # of the weights: what such models are initialised with


def load_config(size: str) -> dict[str, Any]:
    """The `config.json` of "3B", "7B", "72B" or "tiny"."""
    if size == "tiny":
        family = load_registry().by_model_type("qwen2_5_vl")
        path = next(one.path for one in family.checkpoints if one.name == "tiny")
        assert path is not None
        file = path / "config.json"
    else:
        file = CONFIGS / f"Qwen2.5-VL-{size}-Instruct.json"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def build_model(size: str, spec: TrainingSpec, device: Device, dtype: torch.dtype, scratch: Path) -> Any:
    """The model as the engine makes it, with its adapter, in training mode. Weights are made one layer at a time, so
    that a quantised model never takes more than itself and one layer."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    folder = scratch / f"config-{size}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(load_config(size)))
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()
    torch.manual_seed(0)
    if spec.quantization == "nf4":
        _quantize(model, device, dtype)
    _initialize(model, device)
    with torch.device(device.name):  # what no checkpoint has is worked out from the configuration
        for module in model.modules():
            if hasattr(module, "inv_freq"):
                _initialize_rotary(module, device)
    if spec.gradient_checkpointing:
        checkpoint_activations(model, spec.checkpointing_interval)
    family = load_registry().by_model_type("qwen2_5_vl")
    model = trainable_parameters.make_trainable(model, family, spec).to(device.name)
    optimizations.apply_optimizations(model, trees=True)
    return model.train()


def _quantize(model: Any, device: Device, dtype: torch.dtype) -> None:
    from bitsandbytes.nn import Linear4bit

    for name, layer in list(model.named_modules()):
        if not isinstance(layer, nn.Linear) or not name.startswith("model.language_model"):
            continue
        packed = Linear4bit(
            layer.in_features, layer.out_features, layer.bias is not None, dtype, True, "nf4", device="meta"
        )
        packed = packed.to_empty(device="cpu") if device.dry else packed
        values = torch.randn(layer.out_features, layer.in_features, dtype=dtype, device=device.name) * INITIALIZER_RANGE
        packed.weight = _nf4_weight(values)
        if layer.bias is not None:
            packed.bias = nn.Parameter(torch.zeros(layer.out_features, dtype=dtype, device=device.name), False)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, packed)
    model.is_loaded_in_4bit = True


def _nf4_weight(values: torch.Tensor) -> Any:
    from bitsandbytes.nn import Params4bit

    weight = Params4bit(values.cpu(), requires_grad=False, quant_type="nf4", compress_statistics=True)
    return weight.to(values.device)  # is quantised on its way


def _initialize(model: Any, device: Device) -> None:
    known: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, weight in list(module._parameters.items()):
            if weight is None or not weight.is_meta:
                continue
            if id(weight) not in known:  # a tied weight stays one
                made = torch.randn(weight.shape, dtype=weight.dtype, device=device.name) * INITIALIZER_RANGE
                if weight.ndim == 1:
                    made = torch.zeros_like(made) if name == "bias" else torch.ones_like(made)
                known[id(weight)] = nn.Parameter(made, requires_grad=False)
            module._parameters[name] = known[id(weight)]
        for name, buffer in list(module._buffers.items()):
            if buffer is not None and buffer.is_meta:
                module._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype, device=device.name)


def _initialize_rotary(module: Any, device: Device) -> None:
    """Frequencies of rotary positions: 1 / theta^(2i / width)."""
    count = module.inv_freq.shape[0]
    theta = float(getattr(module, "theta", 10_000.0))
    steps = torch.arange(0, 2 * count, 2, dtype=torch.float32, device=device.name) / (2 * count)
    module.inv_freq = 1.0 / theta**steps
    if getattr(module, "original_inv_freq", None) is not None:
        module.original_inv_freq = module.inv_freq

"""Weights of a checkpoint that bitsandbytes quantized, as numbers again: one tensor at a time.

A 4-bit weight is stored with its constants beside it, under names that begin with its own
(`bitsandbytes.functional.QuantState.as_dict`); an 8-bit weight with the largest value of each of its rows (`SCB`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.engine.results.safetensors_files import StoredTensor
from mg_tui.runs.result_metadata import MODEL_CONFIG, read_json_object

if TYPE_CHECKING:
    import torch

QUANTIZATION_KEY: Final = "quantization_config"
_STATE: Final = ".quant_state.bitsandbytes__"
_INT8_LEVELS: Final = 127


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """A weight of which a file has the quantized form; `make` gives its numbers in a dtype, with `shape`."""

    shape: tuple[int, ...]
    make: "Callable[[str], torch.Tensor]"


def is_quantized(folder: Path) -> bool:
    """Whether the checkpoint in a folder is quantized by bitsandbytes.

    Raises:
        UsageError: it is quantized by another library.
    """
    config = folder / MODEL_CONFIG
    quantization = read_json_object(config).get(QUANTIZATION_KEY) if config.is_file() else None
    if not isinstance(quantization, dict):
        return False
    method = quantization.get("quant_method")
    if method != "bitsandbytes":
        raise UsageError(
            f"the base model is quantized ({method})",
            where=str(folder),
            why="an adapter cannot be merged into such weights",
            hint="name the model it was quantized from with --base-model",
        )
    return True


def find_quantized(tensors: Mapping[str, StoredTensor]) -> tuple[dict[str, QuantizedWeight], set[str]]:
    """The quantized weights of a checkpoint by name, and the names of the constants beside them.

    Args:
        tensors: all tensors of the checkpoint by name.
    """
    weights: dict[str, QuantizedWeight] = {}
    constants: set[str] = set()
    for name in tensors:
        weight, mark, _kind = name.partition(_STATE)
        if mark:
            beside = {key: each for key, each in tensors.items() if key.startswith(f"{weight}.")}
            constants |= beside.keys()
            weights[weight] = _four_bit(weight, tensors[weight], beside)
        elif name.endswith(".SCB"):
            weight = name.removesuffix("SCB") + "weight"
            constants |= {name, f"{weight}_format"} & tensors.keys()
            weights[weight] = _eight_bit(tensors[weight], tensors[name])
    return weights, constants


def _four_bit(name: str, stored: StoredTensor, beside: Mapping[str, StoredTensor]) -> QuantizedWeight:
    packed = next(each for key, each in beside.items() if _STATE in key)
    state: dict[str, Any] = json.loads(bytes(packed.read().tolist()))

    def make(dtype: str) -> "torch.Tensor":
        import torch
        from bitsandbytes.functional import QuantState, dequantize_4bit

        values = {key.removeprefix(f"{name}."): each.read() for key, each in beside.items()}
        loaded = QuantState.from_dict(values, device=torch.device("cpu"))
        return dequantize_4bit(stored.read(), loaded).to(getattr(torch, dtype)).reshape(tuple(state["shape"]))

    return QuantizedWeight(tuple(map(int, state["shape"])), make)


def _eight_bit(stored: StoredTensor, largest: StoredTensor) -> QuantizedWeight:
    def make(dtype: str) -> "torch.Tensor":
        import torch

        return (stored.read().float() * (largest.read().float()[:, None] / _INT8_LEVELS)).to(getattr(torch, dtype))

    return QuantizedWeight(stored.shape, make)

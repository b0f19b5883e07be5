"""The layers that an adapter changes, on a model without weights; merged one at a time, by PEFT itself."""

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import RunFailed, UsageError
from mg_tui.engine.results.dequantize import QUANTIZATION_KEY
from mg_tui.engine.results.safetensors_writing import Buffers

if TYPE_CHECKING:
    import torch

TIE_KEY: Final = "tie_word_embeddings"
# Where PEFT keeps the base model's own module in one of its own.
_BASE: Final = ("base_layer.", "original_module.", "token_adapter.base_layer.")


def attach_without_weights(model: Any, adapter: Path) -> Any:
    """The adapter with its weights on a model of the same class without any."""
    import torch
    from peft import PeftModel

    config = copy.deepcopy(model.config)
    if hasattr(config, QUANTIZATION_KEY):
        delattr(config, QUANTIZATION_KEY)
    with torch.device("meta"):
        empty = type(model)(config)
    empty.tie_weights()
    with warnings.catch_warnings(), _adapters_stay_on_cpu():
        warnings.simplefilter("ignore")  # tied layers are untied here
        adapted = PeftModel.from_pretrained(empty, str(adapter), low_cpu_mem_usage=True, torch_device="cpu").eval()
    for name, layer in adapted_layers(adapted).items():
        if lost := [key for key, each in layer.named_parameters() if each.is_meta and not key.startswith(_BASE)]:
            raise RunFailed("the adapter was not loaded", where=str(adapter), why=f"{name} has no {lost[0]}")
    return adapted


@contextmanager
def _adapters_stay_on_cpu() -> Iterator[None]:
    """PEFT would move an adapter's weights to where those of its layer are: here nowhere."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    original = BaseTunerLayer._move_adapter_to_device_of_base_layer
    BaseTunerLayer._move_adapter_to_device_of_base_layer = lambda *_args, **_options: None
    try:
        yield
    finally:
        BaseTunerLayer._move_adapter_to_device_of_base_layer = original


def find_odd_layer(adapted: Any) -> str | None:
    """The kind of a layer that is not merged like a plain one; None when there is none."""
    from peft.tuners.lora.layer import ParamWrapper
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

    for layer in adapted_layers(adapted).values():
        if isinstance(layer, ModulesToSaveWrapper):
            odd = any(isinstance(each, BaseTunerLayer) for each in layer.modules())
        else:
            odd = isinstance(layer, ParamWrapper) or (
                isinstance(layer, BaseTunerLayer) and hasattr(layer, "unload_and_optionally_merge_module")
            )
        if odd:
            return type(layer).__name__
    return None


def adapted_layers(adapted: Any) -> dict[str, Any]:
    """The outermost modules of PEFT by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    layers: dict[str, Any] = {}
    for name, module in adapted.get_base_model().named_modules():
        if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper) and not is_inside(name, layers):
            layers[name] = module
    return layers


def is_inside(name: str, layers: Mapping[str, Any]) -> bool:
    """Whether a module or parameter belongs to one of these layers, by its name."""
    outer = name
    while outer := outer.rpartition(".")[0]:
        if outer in layers:
            return True
    return False


def changed_parameters(layer: Any) -> list[str]:
    """Names of the parameters of a plain module that merging may change."""
    parameters = dict(_plain(layer).named_parameters())
    if hasattr(layer, "original_module"):
        return list(parameters)
    biased = any(getattr(layer, "lora_bias", {}).values())
    return [name for name, each in parameters.items() if name == "weight" or biased or not each.is_meta]


def merge_parameter(layer: Any, parameter: str, read: Callable[[str], Any]) -> Any:
    """A parameter of a layer as merging makes it; the layer is empty again afterwards.

    Args:
        layer: one of `adapted_layers`.
        parameter: its name in the plain module.
        read: gives the base model's weights by such a name.

    Raises:
        RunFailed: merging makes weights that are no numbers.
        UsageError: this kind of adapter cannot be merged.
    """
    from torch import nn

    plain = _plain(layer)
    # What is trained in full needs nothing of the base model.
    missing = [] if hasattr(layer, "modules_to_save") else list(plain.named_parameters())
    empty = [(name, each) for name, each in missing if each.is_meta]
    for name, _each in empty:
        _put(plain, name, nn.Parameter(read(name), requires_grad=False))
    merged = dict(_merge_layer(layer).named_parameters())[parameter].data
    require_numbers(parameter, merged)
    for name, each in empty:
        _put(plain, name, each)
    return merged


@dataclass(frozen=True, slots=True)
class LowRankUpdate:
    """What plain LoRA adds to a weight: `scaling * left @ right`; left (rows, rank), right (rank, columns), float32."""

    left: "torch.Tensor"
    right: "torch.Tensor"
    scaling: float

    def add_to(self, weight: "torch.Tensor", first: int, end: int, buffers: Buffers) -> "torch.Tensor":
        """Rows `first` to `end` of the weight, changed in place: added in float32 and rounded once, as by PEFT."""
        import torch

        shape = (end - first, self.right.shape[1])
        change = torch.mm(self.left[first:end], self.right, out=buffers.take("change", shape, torch.float32))
        change.mul_(self.scaling)
        return weight.copy_(buffers.take("sum", shape, torch.float32).copy_(weight).add_(change))


def low_rank_update(layer: Any) -> LowRankUpdate | None:
    """The change of a layer's weight if the layer has plain LoRA and nothing else; None for every other kind."""
    import torch
    from peft.tuners.lora.layer import Linear

    if type(layer) is not Linear or len(layer.active_adapters) != 1 or layer.fan_in_fan_out:
        return None
    (name,) = layer.active_adapters
    if name not in layer.lora_A or name in layer.lora_variant or layer.lora_bias[name]:
        return None
    left, right = layer.lora_B[name].weight.data, layer.lora_A[name].weight.data
    if not left.dtype == right.dtype == torch.float32 or not left.numel() or not right.numel():
        return None
    return LowRankUpdate(left, right, layer.scaling[name])


def require_numbers(name: str, weight: Any) -> None:
    """Refuse merged weights with NaN or infinity.

    PEFT's `safe_merge` does so too, but on a copy, and it rounds the adapter's change before it is added.

    Raises:
        RunFailed: there are some.
    """
    # A sum takes a small part of the time of looking at each, and it is none if one of them is none.
    if weight.is_floating_point() and not math.isfinite(weight.sum().item()) and not weight.isfinite().all():
        raise RunFailed(
            "merging makes weights that are no numbers (NaN)", where=name, hint="train again with a lower learning rate"
        )


def _put(module: Any, name: str, parameter: Any) -> None:
    owner, _, last = name.rpartition(".")
    setattr(module.get_submodule(owner), last, parameter)


@contextmanager
def translate_merge_errors() -> Iterator[None]:
    """What PEFT raises while it merges, as errors for the user.

    Raises:
        UsageError: this kind of adapter cannot be merged.
    """
    try:
        yield
    except (NotImplementedError, AttributeError, TypeError) as error:
        raise UsageError("this kind of adapter cannot be merged", why=str(error)) from error


def _merge_layer(layer: Any) -> Any:
    """The plain module with the adapter's changes."""
    with translate_merge_errors():
        if hasattr(layer, "unload_and_optionally_merge_module"):
            return layer.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=None)
        layer.merge(safe_merge=False)
        layer.merged_adapters.clear()  # its bias is made by merging again
        return layer.get_base_layer()


def _plain(layer: Any) -> Any:
    """The module of the base model that a module of PEFT stands for."""
    return layer.original_module if hasattr(layer, "original_module") else layer.get_base_layer()


def tied_names(inner: Any) -> tuple[str, str] | None:
    """Names of the embedding and of the output layer that shares its weights; None when it has its own."""
    first, last = inner.get_input_embeddings(), inner.get_output_embeddings()
    if last is None or not getattr(inner.config.get_text_config(), TIE_KEY, getattr(inner.config, TIE_KEY, False)):
        return None
    names = {id(module): name for name, module in inner.named_modules()}
    return f"{names[id(first)]}.weight", f"{names[id(last)]}.weight"

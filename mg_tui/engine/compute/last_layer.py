"""The last decoder layer, computed only at supervised positions.

After the last attention no operation mixes positions, so the output of the last layer matters only at positions that
predict a supervised token: a few percent. Keys and values are needed everywhere; queries, the attention's output layer
and the feed-forward block are not. Hooks pass only those positions through them, and leave zeros elsewhere.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mg_tui.engine.compute import attention


class RestrictedLastLayer:
    """Restricts the last decoder layer of a model; `close` takes the hooks out again.

    Args:
        model: in PEFT or not. `available` tells whether its last layer has the expected modules.
    """

    def __init__(self, model: Any):
        self._positions: Tensor | None = None
        self._grid: tuple[int, ...] = ()
        self._handles: list[Any] = []
        self._attention, modules = _find_modules(model)
        self.available = bool(modules)
        for module in modules:
            self._handles.append(module.register_forward_pre_hook(self._gather))
            self._handles.append(module.register_forward_hook(self._scatter))

    def restrict(self, places: Tensor, grid: tuple[int, ...]) -> None:
        """Compute only `places` (n,), each once, of the flattened grid (examples, tokens) from now on."""
        self._positions, self._grid = places, grid
        if self._attention is not None:
            setattr(self._attention, attention.QUERY_POSITIONS, places)

    def unrestrict(self) -> None:
        """Compute all positions again."""
        self._positions = None
        if self._attention is not None:
            setattr(self._attention, attention.QUERY_POSITIONS, None)

    def close(self) -> None:
        """Take the hooks out."""
        self.unrestrict()
        for handle in self._handles:
            handle.remove()
        self._handles, self.available = [], False

    def _gather(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._positions is None or not self._matches_grid(args[0] if args else None):
            return None
        return (args[0].flatten(0, 1).index_select(0, self._positions)[None], *args[1:])

    def _scatter(self, _module: nn.Module, _args: Any, output: Any) -> Any:
        if self._positions is None or not torch.is_tensor(output) or output.shape[:2] != (1, len(self._positions)):
            return output
        whole = output.new_zeros((self._grid[0] * self._grid[1], output.shape[2]))
        return whole.index_copy(0, self._positions, output[0]).view(*self._grid, -1)

    def _matches_grid(self, hidden: Any) -> bool:
        return torch.is_tensor(hidden) and hidden.dim() == 3 and tuple(hidden.shape[:2]) == self._grid


def _find_modules(model: Any) -> tuple[nn.Module | None, list[nn.Module]]:
    """The last layer's attention, and its modules that work per position; empty if they are not as expected."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers = getattr(inner.get_decoder() if hasattr(inner, "get_decoder") else None, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        return None, []
    last = layers[-1]
    self_attention = getattr(last, "self_attn", None)
    modules = [
        getattr(self_attention, "q_proj", None),
        getattr(self_attention, "o_proj", None),
        getattr(last, "mlp", None),
    ]
    if not isinstance(self_attention, nn.Module) or not all(isinstance(module, nn.Module) for module in modules):
        return None, []
    return self_attention, [module for module in modules if isinstance(module, nn.Module)]

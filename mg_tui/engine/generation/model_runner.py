"""Forward passes as generation needs them: custom attention, explicit positions, logits at selected places."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mg_tui.engine.compute.last_layer import RestrictedLastLayer
from mg_tui.engine.generation import attention
from mg_tui.engine.generation.cpu_kernels import fast_cpu_kernels
from mg_tui.families import image_features
from mg_tui.families.image_contract import Vision


class ModelRunner:
    """Runs one model; `close` removes its hooks.

    Args:
        model: inside PEFT or not; in evaluation mode while it is used.
        vision: of the family: how features enter the model.
    """

    def __init__(self, model: Any, vision: Vision | None = None):
        self.model = model
        self._vision = vision or Vision()
        self._last_layer = RestrictedLastLayer(model)

    @property
    def device(self) -> torch.device:
        """The device of the inputs."""
        return torch.device(self.model.device)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Install attention and kernels within the block, where the other methods may be called."""
        with attention.installed(self.model), fast_cpu_kernels(self.model), torch.inference_mode():
            yield

    def prefill_logits(
        self,
        ids: Tensor,
        positions: Tensor,
        places: Sequence[int],
        features: Sequence[Tensor],
        layers: attention.AttentionLayers,
    ) -> Tensor:
        """Logits at some places of a layout of prompts.

        Args:
            ids: (L,).
            positions: (axes, L).
            places: distinct and sorted.
            features: of the images, see `Vision`, in the order of the layout.
            layers: computes attention.

        Returns:
            (places, vocabulary).
        """
        inputs = image_features.insert(self.model, self._vision, features) if features else {}
        selected = torch.tensor(places, dtype=torch.long, device=ids.device)
        if self._last_layer.available:
            self._last_layer.restrict(selected, (1, len(ids)))
        try:
            return self._logits(ids[None], positions[:, None], layers, logits_to_keep=selected, **inputs)[0]
        finally:
            self._last_layer.unrestrict()

    def decode_logits(self, ids: Tensor, positions: Tensor, layers: attention.AttentionLayers) -> Tensor:
        """Logits (rows, vocabulary) after one token per row; `ids` (rows,), `positions` (axes, rows)."""
        return self._logits(ids[:, None], positions[:, :, None], layers)[:, -1]

    def _logits(self, ids: Tensor, positions: Tensor, layers: attention.AttentionLayers, **inputs: Any) -> Tensor:
        with attention.computed_by(layers):
            output = self.model(
                input_ids=ids,
                position_ids=positions[0] if len(positions) == 1 else positions,
                attention_mask=attention.placeholder_mask(ids.device),
                use_cache=False,
                return_dict=True,
                **inputs,
            )
        logits: Tensor = output.logits
        return logits

    def close(self) -> None:
        """Remove the hooks."""
        self._last_layer.close()

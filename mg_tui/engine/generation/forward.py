"""A model's forward pass as generation needs it: given attention, explicit positions, logits at a few places."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mg_tui.engine.compute.last_layer import LastLayer
from mg_tui.engine.generation import attention
from mg_tui.engine.generation.quick import quick


class Forward:
    """Runs one model; `close` takes its hooks out.

    Args:
        model: inside PEFT or not; in evaluation mode while it is used.
    """

    def __init__(self, model: Any):
        self.model = model
        self._last = LastLayer(model)

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return torch.device(self.model.device)

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """A block in which the other methods may be called. Outside of it the model is as it was."""
        with attention.installed(self.model), quick(self.model), torch.inference_mode():
            yield

    def prompts(
        self,
        ids: Tensor,
        positions: Tensor,
        places: Sequence[int],
        features: Sequence[Tensor],
        attending: attention.Attending,
    ) -> Tensor:
        """Logits at some places of a layout of prompts.

        Args:
            ids: (L,).
            positions: (axes, L).
            places: each once, in order.
            features: of the images, (tokens, width) each, in the order the layout shows them.
            attending: what attention does.

        Returns:
            (places, vocabulary).
        """
        inputs: dict[str, Any] = {"mm_encoder_outputs": {"image": Pooled(list(features))}} if features else {}
        wanted = torch.tensor(places, dtype=torch.long, device=ids.device)
        if self._last.found:
            self._last.restrict(wanted, (1, len(ids)))
        try:
            return self._logits(ids[None], positions[:, None], attending, logits_to_keep=wanted, **inputs)[0]
        finally:
            self._last.release()

    def step(self, ids: Tensor, positions: Tensor, attending: attention.Attending) -> Tensor:
        """Logits (rows, vocabulary) after one more token of each row; `ids` (rows,), `positions` (axes, rows)."""
        return self._logits(ids[:, None], positions[:, :, None], attending)[:, -1]

    def _logits(self, ids: Tensor, positions: Tensor, attending: attention.Attending, **others: Any) -> Tensor:
        mask = attention.marker(ids.device)
        given = positions[0] if len(positions) == 1 else positions
        with attention.attending(attending):
            output = self.model(
                input_ids=ids, position_ids=given, attention_mask=mask, use_cache=False, return_dict=True, **others
            )
        logits: Tensor = output.logits
        return logits

    def close(self) -> None:
        """Take the hooks out."""
        self._last.close()


class Pooled:
    """The one field of an encoder's output that the model reads."""

    def __init__(self, features: list[Tensor]):
        self.pooler_output = features

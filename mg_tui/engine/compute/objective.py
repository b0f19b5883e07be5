"""The loss of a forward pass, computed only at supervised positions.

Two optimizations are used if a trial shows that they give the model's own loss: the last layer at supervised positions
only (see `last_layer`), and output layer and loss as one function (see `fused_cross_entropy`). Other models compute
logits at supervised positions, and the loss from these.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mg_tui.core.text import first_line
from mg_tui.engine.compute.fused_cross_entropy import fused_linear_cross_entropy
from mg_tui.engine.compute.last_layer import RestrictedLastLayer
from mg_tui.engine.compute.loss import SupervisedHead, token_loss_sum

_TRIAL_TOKENS = 6  # tokens of the trial


class Objective:
    """Computes losses of one model; `close` removes its hooks.

    `method` is what is used and why, for the journal.
    """

    def __init__(self, model: Any, *, label_smoothing: float = 0.0):
        self.label_smoothing = label_smoothing
        self.supervised_head = SupervisedHead(model)
        self.last_layer = RestrictedLastLayer(model)
        self._head = _plain_output_layer(model)
        self._hidden: Tensor | None = None
        self._capturing = False
        self._handle = self._head.register_forward_pre_hook(self._capture_hidden) if self._head is not None else None
        why_not = self._trial(model)
        if why_not is None and self._head is not None:
            self.method = (
                "at supervised positions",
                "only there the output layer and, after its keys and values, the last layer are computed",
            )
        else:
            self.method = ("of logits at supervised positions", why_not or "")

    @contextlib.contextmanager
    def restricted_to(self, positions: Tensor, grid: tuple[int, ...]) -> Iterator[None]:
        """A block for a forward pass and its backward with `positions` (n,) of the flattened grid supervised.

        It includes the backward, since checkpointing computes layers again there.
        """
        if self.last_layer.available:
            self.last_layer.restrict(torch.unique(positions), grid)
        try:
            yield
        finally:
            self.last_layer.unrestrict()

    def loss_sum(
        self, model: Any, inputs: dict[str, Any], positions: Tensor, targets: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Sum of the token losses of a pass, see `loss.token_loss_sum`; to be called within `restricted_to`.

        Args:
            model: called with `inputs`.
            inputs: the forward's arguments.
            positions, targets: see `loss.supervised_positions`.
            weights: (n,) float32, or None.
        """
        if self._head is None or targets.numel() == 0:
            logits = self.supervised_head(model, inputs, positions)
            return token_loss_sum(logits, targets, weights=weights, label_smoothing=self.label_smoothing)
        places, rows = torch.unique(positions, return_inverse=True)
        self._capturing = True
        try:
            self.supervised_head(model, inputs, places)
            hidden = self._hidden
        finally:
            self._capturing, self._hidden = False, None
        if hidden is None:
            raise RuntimeError("the model does not call its output layer with the last layer's hidden states")
        return fused_linear_cross_entropy(
            hidden,
            self._head.weight,
            self._head.bias,
            rows,
            targets.to(hidden.device),
            weights=None if weights is None else weights.to(hidden.device),
            label_smoothing=self.label_smoothing,
        )

    def close(self) -> None:
        """Take the hooks out."""
        self.supervised_head.close()
        self.last_layer.close()
        if self._handle is not None:
            self._handle.remove()
        self._handle = self._head = None

    def _capture_hidden(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not self._capturing or not args or args[0].dim() != 2:
            return None
        self._hidden = args[0]
        return (args[0][:0], *args[1:])  # the output layer itself computes nothing

    def _trial(self, model: Any) -> str | None:
        """Compare the loss of some tokens with that of plain logits; disable the optimizations if it differs.

        Returns:
            Why they are disabled, or None.
        """
        if self._head is None:
            self.last_layer.close()
            return "the output layer is trained, or is not a plain one"
        device = self._head.weight.device
        ids = torch.arange(_TRIAL_TOKENS, device=device)[None] % self._head.weight.shape[0]
        positions, targets = torch.tensor([1, 4], device=device), ids[0, [2, 5]]
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                logits = self.supervised_head(model, {"input_ids": ids}, positions)
                expected = token_loss_sum(logits, targets, label_smoothing=self.label_smoothing)
                with self.restricted_to(positions, tuple(ids.shape)):
                    loss = self.loss_sum(model, {"input_ids": ids}, positions, targets)
            tolerance = 1e-4 if self._head.weight.dtype == torch.float32 else 3e-2
            same = bool((loss - expected).abs() <= tolerance * expected.abs())
            problem = None if same else "the model changes its hidden states or logits around the output layer"
        except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
            # What a model of another build raises when it is given ids alone, or fewer positions than it expects.
            problem = f"its trial failed: {type(error).__name__}: {first_line(error)}"
        finally:
            model.train(training)
        if problem is not None:
            self.last_layer.close()
            self._head = None
        return problem


def _plain_output_layer(model: Any) -> nn.Linear | None:
    """The output layer, if it is a plain linear layer that is not trained."""
    head = model.get_output_embeddings()
    plain = type(head) is nn.Linear and head.weight.is_floating_point() and not head.weight.requires_grad
    return head if plain else None

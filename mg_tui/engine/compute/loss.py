"""Loss on the supervised tokens only.

The output layer (`lm_head`) is by far the widest of a model, and most positions of a step (prompt, image, padding)
are not supervised. A hook in front of it passes only the supervised positions, so that logits exist for those alone.
The hook needs only `get_output_embeddings()`, and works the same inside PEFT, autocast and DDP. A model that reshapes
its hidden states before the output layer gets full logits, and the same loss, chosen from them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mg_tui.families.collate import IGNORE_INDEX


def supervised_positions(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The supervised positions of a batch and their targets.

    Args:
        labels: (examples, tokens), token ids or -100.

    Returns:
        positions: (n,) indices into the flattened (examples x tokens) grid whose hidden state predicts a supervised
            token: the position before it.
        targets: (n,) the token ids to be predicted there.
    """
    following = labels[:, 1:]
    supervised = following != IGNORE_INDEX
    rows, columns = supervised.nonzero(as_tuple=True)
    return rows * labels.shape[1] + columns, following[supervised]


class SupervisedHead:
    """Runs a model's forward with its output layer at some positions only. One per model; `close` removes the hook."""

    def __init__(self, model: Any):
        self._positions: Tensor | None = None
        self._grid: tuple[int, ...] | None = None
        head = model.get_output_embeddings()
        self._handle = head.register_forward_pre_hook(self._gather) if head is not None else None

    def __call__(self, model: Any, inputs: dict[str, Any], positions: Tensor) -> Tensor:
        """Logits at `positions` (see `supervised_positions`): (n, vocabulary), in the model's dtype."""
        self._positions = positions
        self._grid = tuple(inputs["input_ids"].shape)
        try:
            logits: Tensor = model(**inputs, use_cache=False).logits
        finally:
            self._positions = None
        if logits.dim() == 3:  # the hook was not called, or did not apply
            logits = logits.flatten(0, 1)[positions]
        return logits

    def close(self) -> None:
        """Take the hook out again."""
        if self._handle is not None:
            self._handle.remove()

    def _gather(self, _module: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._positions is None or not args:
            return None
        hidden = args[0]
        if hidden.dim() != 3 or tuple(hidden.shape[:2]) != self._grid:
            return None
        return (hidden.flatten(0, 1).index_select(0, self._positions), *args[1:])


def token_loss_sum(
    logits: Tensor, targets: Tensor, *, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Sum over tokens of weight x cross-entropy, in float32.

    With label smoothing e the target token has probability 1 - e + e / V in the target, and every other of the V
    words of the output layer e / V: the loss of a token is (1 - e) x -log p(token) + e x the mean over all words of
    -log p(word). This is what `torch.nn.functional.cross_entropy` and transformers' label smoother compute.

    Args:
        logits: (n, vocabulary).
        targets: (n,) token ids.
        weights: (n,) float32, what the loss of each token is multiplied by; 1 when left out.
        label_smoothing: e, from 0 to 1.
    """
    if targets.numel() == 0:  # still connected to the graph, so that backward runs on every rank
        return logits.float().sum() * 0.0
    targets = targets.to(logits.device)
    if weights is None:
        return functional.cross_entropy(logits.float(), targets, reduction="sum", label_smoothing=label_smoothing)
    each = functional.cross_entropy(logits.float(), targets, reduction="none", label_smoothing=label_smoothing)
    return (each * weights.to(logits.device)).sum()


def evaluation_loss_sum(
    head: SupervisedHead, model: Any, inputs: dict[str, Any], positions: Any, targets: Any
) -> float:
    """`token_loss_sum` without gradients, as a float: for evaluation."""
    with torch.no_grad():
        return float(token_loss_sum(head(model, inputs, positions), targets))

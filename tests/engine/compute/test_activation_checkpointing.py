"""Gradient checkpointing of all blocks and of some: the same loss and gradient, and the blocks that were meant."""

from typing import Any

import pytest
import torch
from mg_qwen2_5_vl import QWEN2_5_VL
from torch import nn

from mg_tui.core.errors import SpecError
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.compute.activation_checkpointing import checkpoint_activations
from mg_tui.families.contract import LoadRequest

TINY = str(QWEN2_5_VL.checkpoints[-1].path)


def model() -> Any:
    return QWEN2_5_VL.load_model(QWEN2_5_VL, LoadRequest(TINY, dtype="float32", device="cpu"))


def loss_and_gradients(created: Any) -> tuple[float, dict[str, torch.Tensor]]:
    created.train()
    ids = torch.arange(3, 23)[None]
    loss = created(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss
    loss.backward()
    return float(loss.detach()), {name: p.grad for name, p in created.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("interval", [1, 2, 3, 100])
def test_what_is_computed_again_changes_no_gradient(interval: int) -> None:
    loss, expected = loss_and_gradients(model())
    created = model()
    checkpoint_activations(created, interval)
    found_loss, result = loss_and_gradients(created)
    assert found_loss == loss
    assert result.keys() == expected.keys()
    assert all(torch.equal(result[name], item) for name, item in expected.items())


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_the_first_of_every_interval_is_computed_again_in_each_stack(interval: int) -> None:
    created = model()
    checkpoint_activations(created, interval)
    stacks = [stack for stack in created.modules() if isinstance(stack, nn.ModuleList)]
    marked = [[block.gradient_checkpointing for block in stack] for stack in stacks]
    assert len(marked) == 2  # of the vision tower and of the language model
    assert marked == [[place % interval == 0 for place in range(len(stack))] for stack in stacks]


def test_an_interval_without_checkpointing_is_refused() -> None:
    values = {"base_model": "tiny", "dataset": "d", "gradient_checkpointing": False}
    with pytest.raises(SpecError, match="checkpointing_interval"):
        TrainingSpec.parse({**values, "checkpointing_interval": 2})

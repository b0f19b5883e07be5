"""Gradient checkpointing: of all blocks, or of the first of every `interval`."""

from typing import Any

from torch import nn


def checkpoint_activations(model: Any, interval: int = 1) -> None:
    """Have blocks computed again in the backward pass in place of keeping their activations.

    Args:
        model: a model of transformers.
        interval: of each stack of blocks (the language model's, the vision tower's) the first of every so many is
            computed again, the others keep their activations; 1 is all of them.
    """
    # Renamed between the supported versions of transformers (see `engine.run.transformers_contract`). Its own way of
    # skipping blocks counts them over several stacks differently from version to version, so it is done below.
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if interval == 1:
        return
    for stack in model.modules():
        if isinstance(stack, nn.ModuleList):
            for place, block in enumerate(stack):
                if place % interval and getattr(block, "gradient_checkpointing", False):
                    block.gradient_checkpointing = False

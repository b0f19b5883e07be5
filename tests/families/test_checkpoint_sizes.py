"""The parameter counts that families give for published checkpoints are those of their configurations."""

import pytest

from mg_tui.families import Checkpoint, ModelFamily
from mg_tui.families.registry import load_registry

SIZED = [
    (family, checkpoint)
    for family in load_registry().families
    for checkpoint in family.checkpoints
    if checkpoint.config is not None
]


@pytest.mark.parametrize(("family", "checkpoint"), SIZED, ids=[checkpoint.name for _family, checkpoint in SIZED])
def test_the_shape_has_the_parameters(family: ModelFamily, checkpoint: Checkpoint) -> None:
    assert family.shape is not None and checkpoint.config is not None
    assert family.shape(checkpoint.config).parameters == checkpoint.parameters


# The tests of Qwen2.5-VL compare whole configuration files, which its own sizes here are a part of.
@pytest.mark.parametrize(
    "family", {f.key: f for f, _checkpoint in SIZED if f.key != "qwen2_5_vl"}.values(), ids=lambda family: family.key
)
def test_the_configuration_gives_a_model_of_that_size(family: ModelFamily) -> None:
    """On the meta device, by transformers' own classes: the smallest of each family."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    smallest = min((item for item in family.checkpoints if item.config), key=lambda item: item.parameters)
    config = AutoConfig.for_model(family.model_types[0], **dict(smallest.config or {}))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == smallest.parameters

"""Shapes of models: the Qwen family's against its configurations, and any family's from the files of a checkpoint."""

import json
import os
import struct
from pathlib import Path

import pytest
from mg_qwen2_5_vl.shape import model_shape

from mg_tui.core.errors import UsageError
from mg_tui.families.family import ModelFamily
from mg_tui.families.registry import load_registry
from mg_tui.hardware.checkpoint_shape import infer_model_shape, read_tensor_shapes

CONFIGS = Path(__file__).parents[2] / "plugins" / "qwen2_5_vl" / "tests" / "configs"


@pytest.fixture(scope="module")
def family() -> ModelFamily:
    return load_registry().by_model_type("qwen2_5_vl")


@pytest.mark.parametrize("size", ["3B", "7B", "72B"])
def test_known_checkpoints_have_the_shape_of_their_configuration(family, size):
    name = f"Qwen/Qwen2.5-VL-{size}-Instruct"
    known = next(checkpoint for checkpoint in family.checkpoints if checkpoint.name == name)
    published = json.loads((CONFIGS / f"Qwen2.5-VL-{size}-Instruct.json").read_text())
    assert known.config is not None
    assert model_shape(known.config) == model_shape(published)
    assert model_shape(published).parameters == known.parameters


def test_the_tiny_checkpoint_has_as_many_parameters_as_its_files(family):
    tiny = next(checkpoint for checkpoint in family.checkpoints if checkpoint.name == "tiny")
    config = json.loads((tiny.path / "config.json").read_text())
    assert model_shape(config).parameters == tiny.parameters


def test_headers_give_what_the_family_gives(family):
    """Read in a general way, the tiny checkpoint has the parts and linear layers that its family says it has."""
    tiny = next(checkpoint for checkpoint in family.checkpoints if checkpoint.name == "tiny")
    config = json.loads((tiny.path / "config.json").read_text())
    exact, general = model_shape(config), infer_model_shape(config, read_tensor_shapes(tiny.path), family.parts.part_of)
    assert not general.exact
    assert general.parameters == exact.parameters
    for part in ("language", "vision"):
        ours, theirs = getattr(exact, part), getattr(general, part)
        assert theirs.matrix_weights == ours.matrix_weights
        assert theirs.parameters == ours.parameters
        assert (theirs.depth, theirs.width, theirs.heads, theirs.kv_heads) == (
            ours.depth,
            ours.width,
            ours.heads,
            ours.kv_heads,
        )
    assert general.projector_parameters == exact.projector_parameters
    assert (general.patches_per_token, general.tied_embeddings) == (exact.patches_per_token, exact.tied_embeddings)


def test_names_that_no_part_claims_are_sorted_by_what_they_say(family):
    tiny = next(checkpoint for checkpoint in family.checkpoints if checkpoint.name == "tiny")
    config = json.loads((tiny.path / "config.json").read_text())
    shapes = read_tensor_shapes(tiny.path)
    assert infer_model_shape(config, shapes, lambda name: None) == infer_model_shape(
        config, shapes, family.parts.part_of
    )


def test_weights_are_not_read_into_memory(tmp_path):
    """A file of 64 GiB, all of it a hole: only its header is looked at."""
    size = 2**36
    header = json.dumps(
        {"__metadata__": {}, "a.weight": {"dtype": "BF16", "shape": [2**15, 2**20], "data_offsets": [0, size]}}
    )
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    os.truncate(file, 8 + len(header) + size)
    assert read_tensor_shapes(tmp_path) == {"a.weight": (2**15, 2**20)}


def test_a_truncated_file_is_named(tmp_path):
    header = json.dumps({"a.weight": {"dtype": "BF16", "shape": [4, 3], "data_offsets": [0, 24]}})
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode() + b"\0" * 23)
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        read_tensor_shapes(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 4) + b"[{}]", struct.pack("<Q", 2) + b"{"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_tensor_shapes(tmp_path)
    assert "model.safetensors" in str(caught.value)


def test_without_weight_files_it_is_said(tmp_path):
    with pytest.raises(UsageError, match="not available locally"):
        read_tensor_shapes(tmp_path)


def test_a_configuration_without_sizes_is_said(family):
    tiny = next(checkpoint for checkpoint in family.checkpoints if checkpoint.name == "tiny")
    with pytest.raises(UsageError, match="cannot estimate"):
        infer_model_shape({"vocab_size": 10}, read_tensor_shapes(tiny.path), family.parts.part_of)

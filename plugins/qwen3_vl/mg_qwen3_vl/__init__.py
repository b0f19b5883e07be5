"""Qwen3-VL for Model Garden: data about the architecture. Loading and collating use the defaults."""

from collections.abc import Iterator
from typing import Final

from mg_qwen3_vl.shape import CONFIG_2B, CONFIG_4B, CONFIG_8B, CONFIG_32B, model_shape
from mg_qwen3_vl.tiny import TINY
from mg_tui.families import (
    CONTRACT_VERSION as CONTRACT_VERSION,
)
from mg_tui.families import (
    Checkpoint,
    ModelFamily,
    Parts,
    Supported,
    Vision,
    hookimpl,
)
from mg_tui.families.geometry import merged_patch_layout

QWEN3_VL: Final = ModelFamily(
    key="qwen3_vl",
    title="Qwen3-VL",
    model_types=("qwen3_vl",),
    parts=Parts(
        language=("model.language_model", "lm_head"),
        # The mergers are modules of the tower; the longer prefix wins.
        projector=("model.visual.merger", "model.visual.deepstack_merger_list"),
        vision=("model.visual",),
    ),
    checkpoints=(
        Checkpoint(
            "Qwen/Qwen3-VL-2B-Instruct",
            title="Qwen3-VL 2B",
            parameters=2_127_532_032,
            note="Apache-2.0",
            config=CONFIG_2B,
        ),
        Checkpoint(
            "Qwen/Qwen3-VL-4B-Instruct",
            title="Qwen3-VL 4B",
            parameters=4_437_815_808,
            note="Apache-2.0",
            config=CONFIG_4B,
        ),
        Checkpoint(
            "Qwen/Qwen3-VL-8B-Instruct",
            title="Qwen3-VL 8B",
            parameters=8_767_123_696,
            note="Apache-2.0",
            config=CONFIG_8B,
        ),
        Checkpoint(
            "Qwen/Qwen3-VL-32B-Instruct",
            title="Qwen3-VL 32B",
            parameters=33_357_390_064,
            note="Apache-2.0",
            config=CONFIG_32B,
        ),
    ),
    capabilities={
        "vllm_tower_adapter": Supported(),
    },
    layout=merged_patch_layout("Qwen3-VL", patch=16),
    # Deepstack: features of inner layers of the tower are added to the hidden states of the first decoder layers.
    vision=Vision(inputs=("pixel_values", "image_grid_thw"), features="list", companions="deepstack_features"),
    shape=model_shape,
    tiny=TINY,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield QWEN3_VL

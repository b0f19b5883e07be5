"""Qwen2-VL for Model Garden: data about the architecture. Loading and collating use the defaults."""

from collections.abc import Iterator
from typing import Final

from mg_qwen2_vl.shape import CONFIG_2B, CONFIG_7B, CONFIG_72B, model_shape
from mg_qwen2_vl.tiny import TINY
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

QWEN2_VL: Final = ModelFamily(
    key="qwen2_vl",
    title="Qwen2-VL",
    model_types=("qwen2_vl",),
    parts=Parts(
        language=("model.language_model", "lm_head"),
        # The merger is a module of the tower; the longer prefix wins.
        projector=("model.visual.merger",),
        vision=("model.visual",),
    ),
    checkpoints=(
        Checkpoint(
            "Qwen/Qwen2-VL-2B-Instruct",
            title="Qwen2-VL 2B",
            parameters=2_208_985_600,
            note="Apache-2.0",
            config=CONFIG_2B,
        ),
        Checkpoint(
            "Qwen/Qwen2-VL-7B-Instruct",
            title="Qwen2-VL 7B",
            parameters=8_291_375_616,
            note="Apache-2.0",
            config=CONFIG_7B,
        ),
        Checkpoint(
            "Qwen/Qwen2-VL-72B-Instruct",
            title="Qwen2-VL 72B",
            parameters=73_405_560_320,
            note="Qwen license",
            config=CONFIG_72B,
        ),
    ),
    capabilities={
        "vllm_tower_adapter": Supported(),
    },
    layout=merged_patch_layout("Qwen2-VL", patch=14),
    vision=Vision(inputs=("pixel_values", "image_grid_thw"), features="list"),
    shape=model_shape,
    tiny=TINY,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield QWEN2_VL

"""Qwen3.5 for Model Garden: data about the architecture. Loading and collating use the defaults."""

from collections.abc import Iterator
from typing import Final

from mg_qwen3_5.shape import CONFIG_2B, CONFIG_4B, CONFIG_9B, CONFIG_27B, CONFIG_800M, model_shape
from mg_qwen3_5.tiny import TINY
from mg_tui.families import (
    CONTRACT_VERSION as CONTRACT_VERSION,
)
from mg_tui.families import (
    Attention,
    Checkpoint,
    ModelFamily,
    Parts,
    Vision,
    hookimpl,
)
from mg_tui.families.geometry import merged_patch_layout

_LICENSE: Final = "Apache-2.0"


QWEN3_5: Final = ModelFamily(
    key="qwen3_5",
    title="Qwen3.5",
    model_types=("qwen3_5",),
    parts=Parts(
        language=("model.language_model", "lm_head"),
        projector=("model.visual.merger",),  # a module of the tower; the longer prefix wins
        vision=("model.visual",),
    ),
    checkpoints=(
        Checkpoint("Qwen/Qwen3.5-0.8B", "Qwen3.5 0.8B", 852_985_920, _LICENSE, config=CONFIG_800M),
        Checkpoint("Qwen/Qwen3.5-2B", "Qwen3.5 2B", 2_213_241_664, _LICENSE, config=CONFIG_2B),
        Checkpoint("Qwen/Qwen3.5-4B", "Qwen3.5 4B", 4_539_265_536, _LICENSE, config=CONFIG_4B),
        Checkpoint("Qwen/Qwen3.5-9B", "Qwen3.5 9B", 9_409_813_744, _LICENSE, config=CONFIG_9B),
        Checkpoint("Qwen/Qwen3.5-27B", "Qwen3.5 27B", 27_356_728_560, _LICENSE, config=CONFIG_27B),
    ),
    layout=merged_patch_layout("Qwen3.5", patch=16),
    attention=Attention("recurrent", why="three of four layers are GatedDeltaNet layers"),
    vision=Vision(inputs=("pixel_values", "image_grid_thw"), features="list"),
    shape=model_shape,
    tiny=TINY,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield QWEN3_5

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
    Experimental,
    ModelFamily,
    Parts,
    Preprocessing,
    Supported,
    TokenLayout,
    Vision,
    grid_positions,
    hookimpl,
)
from mg_tui.families.geometry import resize_by_area

_LICENSE: Final = "Apache-2.0"


def side(limits: Preprocessing) -> int:
    """Pixels along a side of the square that becomes one token."""
    return int(limits.settings.get("patch_size", 16)) * int(limits.settings.get("merge_size", 2))


def resized(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """The size of an image as the processor makes it, in pixels."""
    return resize_by_area(width, height, limits, factor=side(limits), title="Qwen3.5")


def token_grid(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """Rows and columns of an image's tokens."""
    wide, high = resized(width, height, limits)
    return high // side(limits), wide // side(limits)


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
    capabilities={
        "lora_language": Supported(),
        "lora_projector": Supported(),
        "lora_vision": Supported(),
        "full": Supported(),
        "nf4": Supported(),
        "int8": Supported(),
        "multi_image": Supported(),
        "merge": Supported(),
        "vllm_tower_adapter": Experimental("no adapter of it was served by vLLM here"),
    },
    layout=TokenLayout(grid=token_grid, positions=grid_positions, resized=resized),
    attention=Attention("recurrent", why="three of four layers are GatedDeltaNet layers"),
    vision=Vision(inputs=("pixel_values", "image_grid_thw"), features="list"),
    shape=model_shape,
    tiny=TINY,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield QWEN3_5

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
    Preprocessing,
    Supported,
    TokenLayout,
    Vision,
    grid_positions,
    hookimpl,
)
from mg_tui.families.geometry import resize_by_area


def side(limits: Preprocessing) -> int:
    """Pixels along a side of the square that becomes one token."""
    return int(limits.settings.get("patch_size", 16)) * int(limits.settings.get("merge_size", 2))


def resized(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """The size of an image as the processor makes it, in pixels."""
    return resize_by_area(width, height, limits, factor=side(limits), title="Qwen3-VL")


def token_grid(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """Rows and columns of an image's tokens."""
    wide, high = resized(width, height, limits)
    return high // side(limits), wide // side(limits)


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
        "lora_language": Supported(),
        "lora_projector": Supported(),
        "lora_vision": Supported(),
        "full": Supported(),
        "nf4": Supported(),
        "int8": Supported(),
        "multi_image": Supported(),
        "merge": Supported(),
        "batched_generation": Supported(),
        "vllm_tower_adapter": Supported(),
    },
    layout=TokenLayout(grid=token_grid, positions=grid_positions, resized=resized),
    # Deepstack: features of inner layers of the tower are added to the hidden states of the first decoder layers.
    vision=Vision(inputs=("pixel_values", "image_grid_thw"), features="list", companions="deepstack_features"),
    shape=model_shape,
    tiny=TINY,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield QWEN3_VL

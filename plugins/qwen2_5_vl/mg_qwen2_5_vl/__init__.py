"""Qwen2.5-VL for Model Garden: data about the architecture. Loading and collating use the defaults."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mg_qwen2_5_vl.geometry import smart_resize, token_grid
from mg_qwen2_5_vl.shape import CONFIG_3B, CONFIG_7B, CONFIG_72B, model_shape
from mg_tui.families import (
    CONTRACT_VERSION as CONTRACT_VERSION,
)
from mg_tui.families import (
    Checkpoint,
    ModelFamily,
    Parts,
    Supported,
    TokenLayout,
    Vision,
    grid_positions,
    hookimpl,
)

# The regular expression by which the tokenizer splits text, as it is in tokenizer.json.
_SPLITTING: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

QWEN2_5_VL: Final = ModelFamily(
    key="qwen2_5_vl",
    title="Qwen2.5-VL",
    model_types=("qwen2_5_vl",),
    parts=Parts(
        language=("model.language_model", "lm_head"),
        # The merger is a module of the tower; the longer prefix wins.
        projector=("model.visual.merger",),
        vision=("model.visual",),
    ),
    checkpoints=(
        Checkpoint(
            "Qwen/Qwen2.5-VL-3B-Instruct",
            title="Qwen2.5-VL 3B",
            parameters=3_754_622_976,
            note="Qwen Research license: not for commercial use",
            config=CONFIG_3B,
        ),
        Checkpoint(
            "Qwen/Qwen2.5-VL-7B-Instruct",
            title="Qwen2.5-VL 7B",
            parameters=8_292_166_656,
            note="Apache-2.0",
            config=CONFIG_7B,
        ),
        Checkpoint(
            "Qwen/Qwen2.5-VL-72B-Instruct",
            title="Qwen2.5-VL 72B",
            parameters=73_410_777_344,
            note="Qwen license",
            config=CONFIG_72B,
        ),
        Checkpoint(
            "tiny",
            title="Qwen2.5-VL tiny",
            parameters=2_322_304,
            note="bundled: the Qwen2.5-VL architecture at a small size, trained on synthetic shapes",
            path=Path(__file__).parent / "tiny",
        ),
    ),
    capabilities={
        "vllm_tower_adapter": Supported(),
        "gguf": Supported(),
    },
    layout=TokenLayout(grid=token_grid, positions=grid_positions, resized=smart_resize),
    vision=Vision(inputs=("pixel_values", "image_grid_thw"), features="list"),
    shape=model_shape,
    llama_tokenizers={_SPLITTING: "qwen2"},
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield QWEN2_5_VL

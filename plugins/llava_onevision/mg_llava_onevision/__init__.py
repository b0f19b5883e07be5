"""LLaVA-OneVision for Model Garden: data about the architecture. Loading and collating use the defaults."""

from collections.abc import Iterator
from typing import Final

from mg_llava_onevision.tiny import TINY
from mg_tui.families import (
    CONTRACT_VERSION as CONTRACT_VERSION,
)
from mg_tui.families import (
    Checkpoint,
    ImageSize,
    ModelFamily,
    Parts,
    Unsupported,
    hookimpl,
)

# So there is no layout: `TokenLayout` knows an image by its size alone.
_WHY_PADDED: Final = "an image has other tokens in a row with several images than in a row of its own"

LLAVA_ONEVISION: Final = ModelFamily(
    key="llava_onevision",
    title="LLaVA-OneVision",
    model_types=("llava_onevision",),
    parts=Parts(
        # "model" is for the one weight that is in no module below it, the features of a line break.
        language=("model.language_model", "lm_head", "model"),
        projector=("model.multi_modal_projector",),
        vision=("model.vision_tower",),
    ),
    checkpoints=(
        Checkpoint("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "LLaVA-OneVision 0.5B", 893_675_552, "Apache-2.0"),
        Checkpoint("llava-hf/llava-onevision-qwen2-7b-ov-hf", "LLaVA-OneVision 7B", 8_030_807_584, "Apache-2.0"),
    ),
    capabilities={
        "shared_prefixes": Unsupported(_WHY_PADDED),
        "packing": Unsupported(_WHY_PADDED),
        "kept_features": Unsupported(_WHY_PADDED),
        "batched_generation": Unsupported(_WHY_PADDED),
        "vllm_adapter": Unsupported("vLLM has no LoRA for it"),
        "gguf": Unsupported("llama.cpp's converter does not have it"),
    },
    image_size=ImageSize("`image_grid_pinpoints` in the checkpoint's preprocessor_config.json and config.json"),
    tiny=TINY,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield LLAVA_ONEVISION

"""Gemma 3 for Model Garden: data about the architecture. Loading and collating use the defaults."""

from collections.abc import Iterator
from typing import Final

from mg_gemma3.shape import CONFIG_4B, CONFIG_12B, CONFIG_27B, model_shape
from mg_gemma3.tiny import TINY
from mg_tui.families import (
    CONTRACT_VERSION as CONTRACT_VERSION,
)
from mg_tui.families import (
    Attention,
    Checkpoint,
    ImageSize,
    ModelFamily,
    Parts,
    Preprocessing,
    Supported,
    TokenLayout,
    Unsupported,
    Vision,
    hookimpl,
)


def image_pieces(width: int, height: int, limits: Preprocessing) -> tuple[str | tuple[int, int], ...]:
    """Every image is one square of feature tokens between two tokens; pan-and-scan, which is off, would add crops."""
    count = int(limits.settings.get("image_seq_length", 256))
    return ("\n\n<start_of_image>", (1, count), "<end_of_image>\n\n")


GEMMA3: Final = ModelFamily(
    key="gemma3",
    title="Gemma 3",
    model_types=("gemma3",),
    parts=Parts(
        language=("model.language_model", "lm_head"),
        projector=("model.multi_modal_projector",),
        vision=("model.vision_tower",),
    ),
    checkpoints=(
        Checkpoint(
            "google/gemma-3-4b-it", title="Gemma 3 4B", parameters=4_300_079_472, note="Gemma license", config=CONFIG_4B
        ),
        Checkpoint(
            "google/gemma-3-12b-it",
            title="Gemma 3 12B",
            parameters=12_187_325_040,
            note="Gemma license",
            config=CONFIG_12B,
        ),
        Checkpoint(
            "google/gemma-3-27b-it",
            title="Gemma 3 27B",
            parameters=27_432_406_640,
            note="Gemma license",
            config=CONFIG_27B,
        ),
    ),
    capabilities={
        "lora_projector": Unsupported("its projector is one matrix that is no linear layer: train it in full"),
        "vllm_tower_adapter": Supported(),
    },
    layout=TokenLayout(pieces=image_pieces, feature_token="<image_soft_token>"),
    # The tokens of an image see each other; five of six layers see the last 512 or 1,024 tokens only.
    attention=Attention("image_blocks", windows=True),
    vision=Vision(features="tensor"),
    image_size=ImageSize("`do_pan_and_scan` and `size` in the checkpoint's processor_config.json"),
    shape=model_shape,
    tiny=TINY,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield GEMMA3

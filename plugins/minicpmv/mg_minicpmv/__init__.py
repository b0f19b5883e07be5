"""MiniCPM-V 4.6 for Model Garden: data about the architecture. Loading and collating use the defaults."""

from collections.abc import Iterator
from typing import Final

from mg_minicpmv.tiny import TINY
from mg_tui.families import (
    CONTRACT_VERSION as CONTRACT_VERSION,
)
from mg_tui.families import (
    Attention,
    Checkpoint,
    ImageSize,
    ModelFamily,
    Parts,
    hookimpl,
)

MINICPMV: Final = ModelFamily(
    key="minicpmv",
    title="MiniCPM-V 4.6",
    model_types=("minicpmv4_6",),
    parts=Parts(
        language=("model.language_model", "lm_head"),
        projector=("model.merger",),
        vision=("model.vision_tower",),
    ),
    checkpoints=(Checkpoint("openbmb/MiniCPM-V-4.6", "MiniCPM-V 4.6", 1_300_659_440, "Apache-2.0"),),
    # No layout: an image's text begins with its number in the row, and `TokenLayout` knows an image by its size alone.
    attention=Attention("recurrent", why="its language model, a Qwen3.5, has GatedDeltaNet layers"),
    image_size=ImageSize("`max_slice_nums` and `scale_resolution` in the checkpoint's preprocessor_config.json"),
    tiny=TINY,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield MINICPMV

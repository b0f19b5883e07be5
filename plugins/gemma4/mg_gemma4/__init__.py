"""Gemma 4 for Model Garden: data about the architecture. Loading and collating use the defaults."""

import math
from collections.abc import Iterator
from typing import Final

from mg_gemma4.tiny import TINY
from mg_tui.core.errors import DataError
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
    TokenLayout,
    Unsupported,
    Vision,
    hookimpl,
)

_WHY_PADDED: Final = (
    "its checkpoints differ in whether the tokens of an image see each other, and then in layers with windows only"
)


def image_pieces(width: int, height: int, limits: Preprocessing) -> tuple[str | tuple[int, int], ...]:
    """An image is scaled to as many squares of pooled patches as `max_soft_tokens` allows, between two tokens.

    As `get_aspect_ratio_preserving_size` of transformers' processor.

    Raises:
        DataError: the image is too long to be scaled so.
    """
    most = int(limits.settings.get("max_soft_tokens", 280))
    side = int(limits.settings.get("patch_size", 16)) * int(limits.settings.get("pooling_kernel_size", 3))
    factor = math.sqrt(most * side**2 / (width * height))
    rows, columns = math.floor(factor * height / side), math.floor(factor * width / side)
    if rows == 0 and columns > 0:
        rows, columns = 1, min(width // height, most)
    elif columns == 0 and rows > 0:
        rows, columns = min(height // width, most), 1
    if not 0 < rows * columns <= most:
        raise DataError(f"an image of {width} x {height} pixels is too long for Gemma 4", hint="crop it")
    return ("<|image>", (rows, columns), "<image|>")


GEMMA4: Final = ModelFamily(
    key="gemma4",
    title="Gemma 4",
    model_types=("gemma4",),
    parts=Parts(
        language=("model.language_model", "lm_head"),
        projector=("model.embed_vision",),
        vision=("model.vision_tower",),
    ),
    checkpoints=(
        Checkpoint("google/gemma-4-E2B-it", "Gemma 4 E2B", 5_104_297_504, "Apache-2.0"),
        Checkpoint("google/gemma-4-E4B-it", "Gemma 4 E4B", 7_941_100_832, "Apache-2.0"),
        Checkpoint("google/gemma-4-31B-it", "Gemma 4 31B", 31_273_086_512, "Apache-2.0"),
    ),
    capabilities={
        "shared_prefixes": Unsupported(_WHY_PADDED),
        "packing": Unsupported(_WHY_PADDED),
        "kept_features": Unsupported(_WHY_PADDED),
        "batched_generation": Unsupported(_WHY_PADDED),
    },
    layout=TokenLayout(pieces=image_pieces, feature_token="<|image|>"),
    attention=Attention("image_blocks", windows=True),
    vision=Vision(inputs=("pixel_values", "image_position_ids"), features="list"),
    image_size=ImageSize("`max_soft_tokens` in the checkpoint's processor_config.json"),
    tiny=TINY,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield GEMMA4

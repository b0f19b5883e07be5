"""Mistral 3 for Model Garden: data about the architecture, and one setting of the processor."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mg_mistral3.tiny import TINY
from mg_tui.families import (
    CONTRACT_VERSION as CONTRACT_VERSION,
)
from mg_tui.families import (
    Checkpoint,
    ImageSize,
    ModelFamily,
    Parts,
    Preprocessing,
    TokenLayout,
    Vision,
    hookimpl,
)

_PATCH: Final = 14  # pixels along a patch, of every published checkpoint


def image_pieces(width: int, height: int, limits: Preprocessing) -> tuple[str | tuple[int, int], ...]:
    """Rows of features with a token between two rows, and another one at the end.

    The image is made smaller if a side is longer than `size` allows, and each begun square counts.
    """
    side = int(limits.settings.get("spatial_merge_size", 2)) * _PATCH
    ratio = max(width, height) / int(limits.settings.get("size", {"longest_edge": 1540})["longest_edge"])
    if ratio > 1:
        width, height = math.floor(width / ratio), math.floor(height / ratio)
    rows, columns = (height - 1) // side + 1, (width - 1) // side + 1
    pieces: list[str | tuple[int, int]] = []
    for row in range(rows):
        pieces += [(1, columns), "[IMG_BREAK]" if row < rows - 1 else "[IMG_END]"]
    return tuple(pieces)


def limit_size(asked: Mapping[str, int], settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The longest side of a square of `max_pixels`, in whole merged patches, and at least one."""
    side = int(settings.get("spatial_merge_size", 2)) * _PATCH
    return {"size": {"longest_edge": max(math.isqrt(asked["max_pixels"]) // side, 1) * side}}


def load_processor(family: ModelFamily, source: str, preprocessing: Preprocessing, **hub: Any) -> Any:
    """The default; the processor rounds to merged patches, and its image processor, called alone, has to do it too."""
    from mg_tui.families.defaults import load_processor as load

    processor = load(family, source, preprocessing, **hub)
    side = processor.patch_size * processor.spatial_merge_size
    processor.image_processor.patch_size = {"height": side, "width": side}
    return processor


MISTRAL3: Final = ModelFamily(
    key="mistral3",
    title="Mistral 3",
    model_types=("mistral3",),
    parts=Parts(
        language=("model.language_model", "lm_head"),
        projector=("model.multi_modal_projector",),
        vision=("model.vision_tower",),
    ),
    checkpoints=(
        Checkpoint(
            "mistralai/Mistral-Small-3.1-24B-Instruct-2503", "Mistral Small 3.1 24B", 24_011_361_280, "Apache-2.0"
        ),
        Checkpoint(
            "mistralai/Mistral-Small-3.2-24B-Instruct-2506", "Mistral Small 3.2 24B", 24_011_361_280, "Apache-2.0"
        ),
    ),
    layout=TokenLayout(pieces=image_pieces),
    vision=Vision(inputs=("pixel_values", "image_sizes"), features="list"),
    image_size=ImageSize("`size` (the longest edge) in the checkpoint's preprocessor_config.json", limit_size),
    tiny=TINY,
    load_processor=load_processor,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield MISTRAL3

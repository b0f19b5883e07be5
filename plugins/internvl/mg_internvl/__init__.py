"""InternVL3.5 (checkpoints in transformers' format, "-HF") for Model Garden: data, and a setting of the processor."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mg_internvl.tiny import TINY
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
    Unsupported,
    Vision,
    hookimpl,
)


def tiles(width: int, height: int, limits: Preprocessing) -> int:
    """Tiles of an image with its thumbnail: the grid whose shape is the nearest, as transformers' image processor."""
    size = limits.settings.get("size") or {"height": 448, "width": 448}
    least, most = int(limits.settings.get("min_patches", 1)), int(limits.settings.get("max_patches", 12))
    sides = range(1, most + 1)
    grids = [(columns, rows) for columns in sides for rows in sides if least <= columns * rows <= most]
    nearest, best = float("inf"), (1, 1)
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        away = abs(width / height - columns / rows)
        # Of equal shapes the larger grid, unless it has more than twice the pixels of the image.
        larger = away == nearest and width * height > 0.5 * size["height"] * size["width"] * columns * rows
        if away < nearest or larger:
            nearest, best = away, (columns, rows)
    count = best[0] * best[1]
    return count + 1 if count > 1 else 1


def image_pieces(width: int, height: int, limits: Preprocessing) -> tuple[str | tuple[int, int], ...]:
    """All tiles of an image, one after another, between two tokens."""
    features = int(limits.settings.get("image_seq_length", 256))
    return ("<img>", (tiles(width, height, limits), features), "</img>")


def limit_size(asked: Mapping[str, int], settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """As many tiles as fit into `max_pixels`, and at least one; the thumbnail that follows several is not counted."""
    size = settings.get("size") or {"height": 448, "width": 448}
    return {"max_patches": max(asked["max_pixels"] // (size["height"] * size["width"]), 1)}


def load_processor(family: ModelFamily, source: str, preprocessing: Preprocessing, **hub: Any) -> Any:
    """The default; the processor cuts images into tiles, and its image processor, called alone, has to do it too."""
    from mg_tui.families.defaults import load_processor as load

    processor = load(family, source, preprocessing, **hub)
    processor.image_processor.crop_to_patches = True
    return processor


def insert(model: Any, vision: Vision, features: Sequence[Any]) -> dict[str, Any]:
    """The model takes the features of all tiles as one tensor (tiles, tokens of a tile, width)."""
    import torch

    from mg_tui.families.image_features import EncoderOutput

    joined = torch.cat(list(features))
    by_tile = joined.reshape(-1, model.config.image_seq_length, joined.shape[-1])
    return {"mm_encoder_outputs": {"image": EncoderOutput(by_tile)}}


INTERNVL: Final = ModelFamily(
    key="internvl",
    title="InternVL3.5",
    model_types=("internvl",),
    parts=Parts(
        language=("model.language_model", "lm_head"),
        projector=("model.multi_modal_projector",),
        vision=("model.vision_tower",),
    ),
    checkpoints=(
        Checkpoint("OpenGVLab/InternVL3_5-1B-HF", "InternVL3.5 1B", 1_060_897_792, "Apache-2.0"),
        Checkpoint("OpenGVLab/InternVL3_5-2B-HF", "InternVL3.5 2B", 2_348_347_392, "Apache-2.0"),
        Checkpoint("OpenGVLab/InternVL3_5-4B-HF", "InternVL3.5 4B", 4_732_489_216, "Apache-2.0"),
        Checkpoint("OpenGVLab/InternVL3_5-8B-HF", "InternVL3.5 8B", 8_528_318_464, "Apache-2.0"),
    ),
    capabilities={
        "gguf": Unsupported("llama.cpp's converter has its original format, not that of transformers"),
    },
    layout=TokenLayout(pieces=image_pieces, feature_token="<IMG_CONTEXT>"),
    vision=Vision(insert=insert),
    image_size=ImageSize("`max_patches` in the checkpoint's preprocessor_config.json", limit_size),
    tiny=TINY,
    load_processor=load_processor,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield INTERNVL

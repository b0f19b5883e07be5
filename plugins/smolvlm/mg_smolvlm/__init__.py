"""SmolVLM2 for Model Garden: data about the architecture. Loading and collating use the defaults."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mg_smolvlm.tiny import TINY
from mg_tui.core.errors import FamilyError
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

_LONGEST: Final = 4096  # MAX_IMAGE_SIZE of transformers' image processor: the longest side after resizing
_EDGE: Final = "<fake_token_around_image>"


def tiles(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """Rows and columns of the tiles of an image; (0, 0) where it is not cut. As transformers' image processor."""
    if not limits.settings.get("do_image_splitting", True):
        return 0, 0
    side = int(limits.settings.get("max_image_size", {"longest_edge": 512})["longest_edge"])
    longest = int(limits.settings.get("size", {"longest_edge": 2048})["longest_edge"])
    shape = width / height
    # The longer side is scaled to `longest`; the other one follows, rounded up to an even number.
    if width >= height:
        width, height = longest, int(longest / shape)
        height += height % 2
    else:
        width, height = int(longest * shape), longest
        width += width % 2
    width, height = max(width, 1), max(height, 1)
    shape = width / height
    if width >= height and width > _LONGEST:
        width, height = _LONGEST, int(_LONGEST / shape)
    elif height > width and height > _LONGEST:
        width, height = int(_LONGEST * shape), _LONGEST
    width, height = max(width, 1), max(height, 1)
    # Then both sides are scaled to multiples of a tile's.
    shape = width / height
    if width >= height:
        width = math.ceil(width / side) * side
        height = math.ceil(int(width / shape) / side) * side
    else:
        height = math.ceil(height / side) * side
        width = math.ceil(int(height * shape) / side) * side
    return (height // side, width // side) if max(width, height) > side else (0, 0)


def image_pieces(width: int, height: int, limits: Preprocessing) -> tuple[str | tuple[int, int], ...]:
    """The tiles of an image, row by row, each after a token with its place, and then the whole image."""
    rows, columns = tiles(width, height, limits)
    features = (1, int(limits.settings.get("image_seq_len", 64)))
    pieces: list[str | tuple[int, int]] = []
    for row in range(rows):
        for column in range(columns):
            before = "\n" if row and not column else ""
            pieces += [f"{before}{_EDGE}<row_{row + 1}_col_{column + 1}>", features]
    return (*pieces, ("\n\n" if rows else "") + f"{_EDGE}<global-img>", features, _EDGE)


def limit_size(asked: Mapping[str, int], settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The longest side, in whole tiles, of a square within `max_pixels`; the whole image that follows is not counted.

    Raises:
        FamilyError: a tile has more pixels.
    """
    side = int(settings.get("max_image_size", {"longest_edge": 512})["longest_edge"])
    count = math.isqrt(asked["max_pixels"]) // side
    if count == 0:
        raise FamilyError(
            f"max_pixels = {asked['max_pixels']:,} is less than a tile of SmolVLM2",
            why=f"a tile has {side} x {side} pixels",
            hint=f"give at least {side**2:,}",
        )
    return {"size": {"longest_edge": count * side}}


SMOLVLM: Final = ModelFamily(
    key="smolvlm",
    title="SmolVLM2",
    model_types=("smolvlm",),
    parts=Parts(
        language=("model.text_model", "lm_head"),
        projector=("model.connector",),
        vision=("model.vision_model",),
    ),
    checkpoints=(
        Checkpoint("HuggingFaceTB/SmolVLM2-256M-Video-Instruct", "SmolVLM2 256M", 256_484_928, "Apache-2.0"),
        Checkpoint("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", "SmolVLM2 500M", 507_482_304, "Apache-2.0"),
        Checkpoint("HuggingFaceTB/SmolVLM2-2.2B-Instruct", "SmolVLM2 2.2B", 2_246_784_880, "Apache-2.0"),
    ),
    layout=TokenLayout(pieces=image_pieces),
    vision=Vision(inputs=("pixel_values", "pixel_attention_mask"), features="list"),
    image_size=ImageSize("`size` and `do_image_splitting` in the checkpoint's preprocessor_config.json", limit_size),
    tiny=TINY,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield SMOLVLM

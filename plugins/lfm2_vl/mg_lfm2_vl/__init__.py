"""LFM2-VL for Model Garden: data about the architecture. Loading and collating use the defaults."""

import math
from collections.abc import Iterator
from typing import Final

from mg_lfm2_vl.tiny import TINY
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
    Vision,
    hookimpl,
)


def whole(width: int, height: int, limits: Preprocessing) -> tuple[int, int, bool]:
    """Rows and columns of an image's tokens where it is not cut, and whether it is too large for that.

    As transformers' image processor.

    Raises:
        DataError: a row or column of tokens is longer than an image may be.
    """
    settings = limits.settings
    side = int(settings.get("encoder_patch_size", 16)) * int(settings.get("downsample_factor", 2))
    least, most = (int(settings.get(f"{name}_image_tokens", default)) for name, default in (("min", 64), ("max", 256)))
    rows, columns = max(1, round(height / side)), max(1, round(width / side))
    # A side that rounds to nothing counts as one patch here, and as one token below.
    patch = 1 / int(settings.get("downsample_factor", 2))
    area = max(patch, round(height / side)) * max(patch, round(width / side))
    is_large = area > most * float(settings.get("max_pixels_tolerance", 2.0))
    if rows * columns > most:
        shrink = math.sqrt(height * width / (most * side**2))
        rows, columns = (max(1, math.floor(length / shrink / side)) for length in (height, width))
        if rows * columns > most:
            raise DataError(f"an image of {width} x {height} pixels is too long for LFM2-VL", hint="crop it")
    elif rows * columns < least:
        grow = math.sqrt(least * side**2 / (height * width))
        rows, columns = (math.ceil(length * grow / side) for length in (height, width))
    return rows, columns, is_large


def tiles(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """Rows and columns of the tiles of a large image: the grid whose shape is the nearest."""
    least, most = int(limits.settings.get("min_tiles", 2)), int(limits.settings.get("max_tiles", 10))
    side = int(limits.settings.get("tile_size", 512))
    # Grids of equal area are tried in the order of transformers' set, which is that of the same insertions.
    lengths = [range(1, count + 1) for count in range(least, most + 1)]
    grids = {
        (columns, rows) for sides in lengths for columns in sides for rows in sides if least <= columns * rows <= most
    }
    nearest, best = float("inf"), (1, 1)
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        away = abs(width / height - columns / rows)
        larger = away == nearest and width * height > 0.5 * side**2 * columns * rows
        if away < nearest or larger:
            nearest, best = away, (columns, rows)
    return best[1], best[0]


def image_pieces(width: int, height: int, limits: Preprocessing) -> tuple[str | tuple[int, int], ...]:
    """A large image is tiles, each after a token with its place, and a thumbnail; another one is encoded whole."""
    high, wide, is_large = whole(width, height, limits)
    if not is_large or not limits.settings.get("do_image_splitting", True):
        return ("<|image_start|>", (high, wide), "<|image_end|>")
    rows, columns = tiles(width, height, limits)
    patches = int(limits.settings.get("tile_size", 512)) // int(limits.settings.get("encoder_patch_size", 16))
    side = math.ceil(patches / int(limits.settings.get("downsample_factor", 2)))
    pieces: list[str | tuple[int, int]] = ["<|image_start|>"]
    for row in range(rows):
        for column in range(columns):
            pieces += [f"<|img_row_{row + 1}_col_{column + 1}|>", (side, side)]
    if limits.settings.get("use_thumbnail", True):
        pieces += ["<|img_thumbnail|>", (high, wide)]
    return (*pieces, "<|image_end|>")


LFM2_VL: Final = ModelFamily(
    key="lfm2_vl",
    title="LFM2-VL",
    model_types=("lfm2_vl",),
    parts=Parts(
        language=("model.language_model", "lm_head"),
        projector=("model.multi_modal_projector",),
        vision=("model.vision_tower",),
    ),
    checkpoints=(
        Checkpoint("LiquidAI/LFM2-VL-450M", "LFM2-VL 450M", 450_822_656, "LFM license v1.0"),
        Checkpoint("LiquidAI/LFM2-VL-1.6B", "LFM2-VL 1.6B", 1_584_804_000, "LFM license v1.0"),
    ),
    layout=TokenLayout(pieces=image_pieces),
    attention=Attention("recurrent", why="ten of sixteen layers are short convolutions"),
    vision=Vision(inputs=("pixel_values", "spatial_shapes", "pixel_attention_mask"), together=False, features="list"),
    image_size=ImageSize("`max_tiles` and `max_image_tokens` in the checkpoint's preprocessor_config.json"),
    tiny=TINY,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield LFM2_VL

"""GLM-4.1V, GLM-4.6V (dense) and GLM-OCR for Model Garden: data. Loading and collating use the defaults."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from mg_glm4v.tiny import TINY
from mg_tui.families import (
    CONTRACT_VERSION as CONTRACT_VERSION,
)
from mg_tui.families import (
    Checkpoint,
    Experimental,
    ImageSize,
    ModelFamily,
    Parts,
    Preprocessing,
    TokenLayout,
    Vision,
    grid_positions,
    hookimpl,
)
from mg_tui.families.geometry import resize_by_area

_FRAMES: Final = 2  # an image counts as so many frames of a video, and the limits are of all of them
_SIZE: Final = {"shortest_edge": 112 * 112, "longest_edge": 28 * 28 * 15_000}  # areas, whatever their names say


def side(limits: Preprocessing) -> int:
    """Pixels along a side of the square that becomes one token."""
    return int(limits.settings.get("patch_size", 14)) * int(limits.settings.get("merge_size", 2))


def resized(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """The size of an image as the processor makes it, in pixels: small ones grow to a square of a token first."""
    edges = limits.settings.get("size") or _SIZE
    factor = side(limits)
    if min(width, height) < factor:
        scale = factor / min(width, height)
        width, height = int(width * scale), int(height * scale)
    area = replace(limits, min_pixels=edges["shortest_edge"] // _FRAMES, max_pixels=edges["longest_edge"] // _FRAMES)
    return resize_by_area(width, height, area, factor=factor, title="GLM-4V")


def token_grid(width: int, height: int, limits: Preprocessing) -> tuple[int, int]:
    """Rows and columns of an image's tokens."""
    wide, high = resized(width, height, limits)
    return high // side(limits), wide // side(limits)


def limit_size(asked: Mapping[str, int], settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The limits of an area as those of all frames that an image counts as."""
    edges = dict(settings.get("size") or _SIZE)
    for name, edge in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")):
        if name in asked:
            edges[edge] = _FRAMES * asked[name]
    return {"size": edges}


GLM4V: Final = ModelFamily(
    key="glm4v",
    title="GLM-4V",
    model_types=("glm4v", "glm46v", "glm_ocr"),
    parts=Parts(
        language=("model.language_model", "lm_head"),
        # Modules of the tower; the longer prefix wins.
        projector=("model.visual.merger", "model.visual.downsample"),
        vision=("model.visual",),
    ),
    checkpoints=(
        Checkpoint("zai-org/GLM-OCR", "GLM-OCR", 807_479_808, "MIT; without its layer for multi-token prediction"),
        Checkpoint("zai-org/GLM-4.1V-9B-Thinking", "GLM-4.1V 9B", 10_292_777_472, "MIT"),
        Checkpoint("zai-org/GLM-4.6V-Flash", "GLM-4.6V Flash", 10_292_777_472, "MIT"),
    ),
    capabilities={
        "gguf": Experimental("llama.cpp's converter has GLM-4.1V and GLM-OCR, not GLM-4.6V; no file was compared here"),
    },
    layout=TokenLayout(grid=token_grid, positions=grid_positions, resized=resized),
    vision=Vision(inputs=("pixel_values", "image_grid_thw"), features="list"),
    image_size=ImageSize(
        "`size` in the checkpoint's preprocessor_config.json", limit_size, translated=("min_pixels", "max_pixels")
    ),
    tiny=TINY,
)


@hookimpl
def mg_model_families() -> Iterator[ModelFamily]:
    """The hook of Model Garden."""
    yield GLM4V

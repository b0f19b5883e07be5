"""Sizes of the published checkpoints, and from a configuration to its `ModelShape`: arithmetic alone, no torch."""

from collections.abc import Mapping
from typing import Any, Final

from mg_tui.families.shapes import decoder_stack, tower_stack
from mg_tui.hardware.model_shape import LinearLayers, ModelShape

_LARGE_TOWER: Final = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16}
_SMALL_TOWER: Final = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16}


def _config(hidden: int, inner: int, depth: int, heads: int, tower: Mapping[str, int], tied: bool) -> Any:
    text = {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151_936,
    }
    vision = {**tower, "out_hidden_size": hidden, "deepstack_visual_indexes": [5, 11, 17]}
    return {"text_config": text, "vision_config": vision, "tie_word_embeddings": tied}


CONFIG_2B: Final = _config(2048, 6144, 28, 16, _SMALL_TOWER, True)
CONFIG_4B: Final = _config(2560, 9728, 36, 32, _SMALL_TOWER, True)
CONFIG_8B: Final = _config(4096, 12288, 36, 32, _LARGE_TOWER, False)
CONFIG_32B: Final = _config(5120, 25600, 64, 64, _LARGE_TOWER, False)


def model_shape(config: Mapping[str, Any]) -> ModelShape:
    """The shape of a Qwen3-VL by its `config.json`.

    Raises:
        KeyError: a size is missing.
    """
    text, vision = config["text_config"], config["vision_config"]
    width, depth, inner, heads = (vision[key] for key in ("hidden_size", "depth", "intermediate_size", "num_heads"))
    merge, patch = vision.get("spatial_merge_size", 2), vision.get("patch_size", 16)
    values = vision.get("in_channels", 3) * vision.get("temporal_patch_size", 2) * patch**2
    mergers = 1 + len(vision.get("deepstack_visual_indexes", (8, 16, 24)))
    merged, hidden = width * merge**2, text["hidden_size"]
    # Patch embedding with a bias, positions, two norms with biases in each block.
    other = (values + 1 + vision.get("num_position_embeddings", 2304)) * width + 4 * depth * width
    return ModelShape(
        language=decoder_stack(text, head_norms=True),
        vision=tower_stack(depth, width, inner, heads, other, fused=True, rotary=True),
        projector=(
            LinearLayers("linear_fc1", merged, merged, mergers, bias=True),
            LinearLayers("linear_fc2", merged, hidden, mergers, bias=True),
        ),
        projector_other=2 * width + 2 * merged * (mergers - 1),  # norms: those of deepstack are of merged patches
        vocabulary=text["vocab_size"],
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        patches_per_token=merge**2,
        pixels_per_patch=patch**2,
        values_per_patch=values,
    )

"""Sizes of the published checkpoints, and from a configuration to its `ModelShape`: arithmetic alone, no torch."""

from collections.abc import Mapping
from typing import Any, Final

from mg_tui.families.shapes import decoder_stack, tower_stack
from mg_tui.hardware.model_shape import ModelShape

_TOWER: Final = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 896,
    "patch_size": 14,
    "vision_use_head": False,
}


def _config(hidden: int, inner: int, depth: int, heads: int, kv_heads: int, head: int) -> Any:
    text = {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head,
        "vocab_size": 262_208,
    }
    return {"text_config": text, "vision_config": _TOWER, "mm_tokens_per_image": 256, "tie_word_embeddings": True}


CONFIG_4B: Final = _config(2560, 10240, 34, 8, 4, 256)
CONFIG_12B: Final = _config(3840, 15360, 48, 16, 8, 256)
CONFIG_27B: Final = _config(5376, 21504, 62, 32, 16, 128)


def model_shape(config: Mapping[str, Any]) -> ModelShape:
    """The shape of a Gemma 3 by its `config.json`.

    Raises:
        KeyError: a size is missing: published files leave out what is the default of their class.
    """
    text, vision = config["text_config"], config["vision_config"]
    width, depth, inner, heads = (
        vision[key] for key in ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
    )
    patch, side = vision["patch_size"], vision["image_size"] // vision["patch_size"]
    values = vision.get("num_channels", 3) * patch**2
    # Patch embedding with a bias, positions, two norms with biases in each block, and one after the last.
    other = (values + 1 + side**2) * width + (4 * depth + 2) * width
    return ModelShape(
        language=decoder_stack(text, norms=4, head_norms=True),
        vision=tower_stack(depth, width, inner, heads, other, fused=False),
        projector=(),
        projector_other=width * text["hidden_size"] + width,  # one matrix that is no linear layer, and a norm
        vocabulary=text.get("vocab_size", 262_208),
        tied_embeddings=bool(config.get("tie_word_embeddings", True)),
        patches_per_token=side**2 // config.get("mm_tokens_per_image", 256),
        pixels_per_patch=patch**2,
        values_per_patch=values,
    )

"""Sizes of the published checkpoints, and from a configuration to its `ModelShape`: arithmetic alone, no torch."""

from collections.abc import Mapping
from typing import Any, Final

from mg_tui.families.shapes import decoder_stack, tower_stack
from mg_tui.hardware.model_shape import LinearLayers, ModelShape


def _config(hidden: int, inner: int, depth: int, heads: int, kv_heads: int, vocabulary: int, tied: bool) -> Any:
    text = {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
    }
    return {"text_config": text, "vision_config": {"hidden_size": hidden}, "tie_word_embeddings": tied}


CONFIG_2B: Final = _config(1536, 8960, 28, 12, 2, 151_936, True)
CONFIG_7B: Final = _config(3584, 18944, 28, 28, 4, 152_064, False)
CONFIG_72B: Final = _config(8192, 29568, 80, 64, 8, 152_064, False)


def model_shape(config: Mapping[str, Any]) -> ModelShape:
    """The shape of a Qwen2-VL by its `config.json`, whose text part may be nested (`text_config`).

    Raises:
        KeyError: a size is missing.
    """
    text = {**config, **config.get("text_config", {})}
    vision = config["vision_config"]
    width, depth = vision.get("embed_dim", 1280), vision.get("depth", 32)
    merge, patch = vision.get("spatial_merge_size", 2), vision.get("patch_size", 14)
    values = vision.get("in_channels", 3) * vision.get("temporal_patch_size", 2) * patch**2
    merged = width * merge**2
    other = values * width + 4 * depth * width  # patch embedding without a bias; two norms with biases
    return ModelShape(
        language=decoder_stack(text, qkv_bias=True),
        vision=tower_stack(
            depth,
            width,
            int(width * vision.get("mlp_ratio", 4)),
            vision.get("num_heads", 16),
            other,
            fused=True,
            rotary=True,
        ),
        projector=(
            LinearLayers("mlp.0", merged, merged, bias=True),
            LinearLayers("mlp.2", merged, text["hidden_size"], bias=True),
        ),
        projector_other=2 * width,
        vocabulary=text["vocab_size"],
        tied_embeddings=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        patches_per_token=merge**2,
        pixels_per_patch=patch**2,
        values_per_patch=values,
    )

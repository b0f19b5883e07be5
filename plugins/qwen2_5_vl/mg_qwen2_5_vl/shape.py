"""From a checkpoint's configuration to its `ModelShape`: arithmetic alone, no torch."""

from collections.abc import Mapping
from typing import Any, Final

from mg_tui.hardware.model_shape import LinearLayers, ModelShape, TransformerStack

# The keys of the published checkpoints' `config.json` that `model_shape` reads.
_VISION_CONFIG: Final = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
CONFIG_3B: Final[Mapping[str, Any]] = {
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "vision_config": _VISION_CONFIG,
}
CONFIG_7B: Final[Mapping[str, Any]] = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
    "vision_config": _VISION_CONFIG,
}
CONFIG_72B: Final[Mapping[str, Any]] = {
    "hidden_size": 8192,
    "intermediate_size": 29568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
    "vision_config": {**_VISION_CONFIG, "intermediate_size": 3456},
}


def model_shape(config: Mapping[str, Any]) -> ModelShape:
    """The shape of a Qwen2.5-VL by its `config.json`, whose text part may be nested (`text_config`).

    Raises:
        KeyError: a size is missing.
    """
    text = {**config, **config.get("text_config", {})}
    vision = config["vision_config"]
    hidden, merge = text["hidden_size"], vision.get("spatial_merge_size", 2)
    patch = vision.get("patch_size", 14)
    values = vision.get("in_channels", 3) * vision.get("temporal_patch_size", 2) * patch**2
    merged = vision["hidden_size"] * merge**2
    return ModelShape(
        language=_language_stack(text),
        vision=_vision_stack(vision, values),
        projector=(LinearLayers("mlp.0", merged, merged, bias=True), LinearLayers("mlp.2", merged, hidden, bias=True)),
        projector_other=vision["hidden_size"],  # a norm
        vocabulary=text["vocab_size"],
        tied_embeddings=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        patches_per_token=merge**2,
        pixels_per_patch=patch**2,
        values_per_patch=values,
    )


def _language_stack(text: Mapping[str, Any]) -> TransformerStack:
    hidden, inner, depth = text["hidden_size"], text["intermediate_size"], text["num_hidden_layers"]
    heads, kv_heads = text["num_attention_heads"], text["num_key_value_heads"]
    keys = hidden // heads * kv_heads
    linears = (
        LinearLayers("q_proj", hidden, hidden, depth, bias=True),
        LinearLayers("k_proj", hidden, keys, depth, bias=True),
        LinearLayers("v_proj", hidden, keys, depth, bias=True),
        LinearLayers("o_proj", hidden, hidden, depth),
        LinearLayers("gate_proj", hidden, inner, depth),
        LinearLayers("up_proj", hidden, inner, depth),
        LinearLayers("down_proj", inner, hidden, depth),
    )
    norms = (2 * depth + 1) * hidden
    return TransformerStack(depth, hidden, inner, heads, kv_heads, hidden // heads, linears, norms)


def _vision_stack(vision: Mapping[str, Any], values: int) -> TransformerStack:
    width, inner, depth, heads = (vision[key] for key in ("hidden_size", "intermediate_size", "depth", "num_heads"))
    linears = (
        LinearLayers("attn.qkv", width, 3 * width, depth, bias=True),
        LinearLayers("attn.proj", width, width, depth, bias=True),
        LinearLayers("mlp.gate_proj", width, inner, depth, bias=True),
        LinearLayers("mlp.up_proj", width, inner, depth, bias=True),
        LinearLayers("mlp.down_proj", inner, width, depth, bias=True),
    )
    other = values * width + 2 * depth * width  # the patch embedding, a convolution; norms
    return TransformerStack(
        depth, width, inner, heads, heads, width // heads, linears, other, fused=True, rotary_in_float32=True
    )

"""Sizes of the published checkpoints, and from a configuration to its `ModelShape`: arithmetic alone, no torch."""

from collections.abc import Mapping
from typing import Any, Final

from mg_tui.families.shapes import tower_stack
from mg_tui.hardware.model_shape import LinearLayers, ModelShape, TransformerStack

_TOWER_12: Final = {"depth": 12, "hidden_size": 768, "intermediate_size": 3072, "num_heads": 12}
_TOWER_24: Final = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16}
_TOWER_27: Final = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16}


def _config(sizes: tuple[int, int, int], heads: tuple[int, int, int], tower: Mapping[str, int], tied: bool) -> Any:
    hidden, inner, depth = sizes
    queries, keys, linear_values = heads
    text = {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": depth,
        "num_attention_heads": queries,
        "num_key_value_heads": keys,
        "head_dim": 256,
        "linear_num_value_heads": linear_values,
        "vocab_size": 248_320,
    }
    return {"text_config": text, "vision_config": {**tower, "out_hidden_size": hidden}, "tie_word_embeddings": tied}


CONFIG_800M: Final = _config((1024, 3584, 24), (8, 2, 16), _TOWER_12, True)
CONFIG_2B: Final = _config((2048, 6144, 24), (8, 2, 16), _TOWER_24, True)
CONFIG_4B: Final = _config((2560, 9216, 32), (16, 4, 32), _TOWER_24, True)
CONFIG_9B: Final = _config((4096, 12288, 32), (16, 4, 32), _TOWER_27, False)
CONFIG_27B: Final = _config((5120, 17408, 64), (24, 4, 48), _TOWER_27, False)


def model_shape(config: Mapping[str, Any]) -> ModelShape:
    """The shape of a Qwen3.5 by its `config.json`.

    Raises:
        KeyError: a size is missing.
    """
    vision, hidden = config["vision_config"], config["text_config"]["hidden_size"]
    width, depth, inner, heads = (vision[key] for key in ("hidden_size", "depth", "intermediate_size", "num_heads"))
    merge, patch = vision.get("spatial_merge_size", 2), vision.get("patch_size", 16)
    values = vision.get("in_channels", 3) * vision.get("temporal_patch_size", 2) * patch**2
    # Patch embedding with a bias, positions, two norms with biases in each block.
    other = (values + 1 + vision.get("num_position_embeddings", 2304)) * width + 4 * depth * width
    merged = width * merge**2
    return ModelShape(
        language=_language(config["text_config"]),
        vision=tower_stack(depth, width, inner, heads, other, fused=True, rotary=True),
        projector=(
            LinearLayers("linear_fc1", merged, merged, bias=True),
            LinearLayers("linear_fc2", merged, hidden, bias=True),
        ),
        projector_other=2 * width,
        vocabulary=config["text_config"]["vocab_size"],
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        patches_per_token=merge**2,
        pixels_per_patch=patch**2,
        values_per_patch=values,
    )


def _language(text: Mapping[str, Any]) -> TransformerStack:
    """GatedDeltaNet layers, and between them layers of attention whose queries come with a gate of their size."""
    hidden, inner, depth = text["hidden_size"], text["intermediate_size"], text["num_hidden_layers"]
    heads, kv_heads, head = text["num_attention_heads"], text["num_key_value_heads"], text.get("head_dim", 256)
    types = text.get("layer_types")
    full = types.count("full_attention") if types else depth // text.get("full_attention_interval", 4)
    linear, value_heads = depth - full, text.get("linear_num_value_heads", 32)
    keys = text.get("linear_num_key_heads", 16) * text.get("linear_key_head_dim", 128)
    value_head = text.get("linear_value_head_dim", 128)
    values = value_heads * value_head
    linears = (
        LinearLayers("q_proj", hidden, 2 * heads * head, full),
        LinearLayers("k_proj", hidden, kv_heads * head, full),
        LinearLayers("v_proj", hidden, kv_heads * head, full),
        LinearLayers("o_proj", heads * head, hidden, full),
        LinearLayers("in_proj_qkv", hidden, 2 * keys + values, linear),
        LinearLayers("in_proj_z", hidden, values, linear),
        LinearLayers("in_proj_b", hidden, value_heads, linear),
        LinearLayers("in_proj_a", hidden, value_heads, linear),
        LinearLayers("out_proj", values, hidden, linear),
        LinearLayers("gate_proj", hidden, inner, depth),
        LinearLayers("up_proj", hidden, inner, depth),
        LinearLayers("down_proj", inner, hidden, depth),
    )
    # A convolution without a bias, two numbers for each head of values, and the norm of a head.
    state = (2 * keys + values) * text.get("linear_conv_kernel_dim", 4) + 2 * value_heads + value_head
    other = (2 * depth + 1) * hidden + 2 * full * head + linear * state
    return TransformerStack(depth, hidden, inner, heads, kv_heads, head, linears, other)

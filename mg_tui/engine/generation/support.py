"""Whether batched generation supports a model: only causal attention may mix tokens.

The cache stores keys and values per layer, and later tokens attend to them: to all, or to those in a window, and within
an image in both directions, where the family declares it. A recurrent layer stores a state instead. A family declares
the capability `batched_generation`; in addition the model's modules and configuration are inspected, and a model whose
family does not declare it as supported has its logits compared (see `logit_check`).
"""

from typing import Any, Final

from torch import nn

from mg_tui.engine.generation.interface import GenerationModel
from mg_tui.families.contract import Attention, Supported, Unsupported

FULL_ATTENTION: Final = "full_attention"
SLIDING_ATTENTION: Final = "sliding_attention"
_OTHER_MIXERS: Final = ("cross_attn", "mamba", "linear_attn", "conv")


def unsupported_reason(model: GenerationModel) -> str | None:
    """Why a model generates one row at a time; None if it supports batched generation."""
    family = model.encoder.family
    capability = family.capability("batched_generation")
    if isinstance(capability, Unsupported):
        return capability.why
    if family.layout is None:
        return f"{family.title} defines no token layout"
    reason = inspect_model(model.model, family.attention)
    if reason is None and not isinstance(capability, Supported):
        from mg_tui.engine.generation.logit_check import compare_logits
        from mg_tui.families.split_encoding import SplitEncoder

        reason = compare_logits(model.model, SplitEncoder(model.encoder))
    return reason


def inspect_model(model: Any, declared: Attention | None = None) -> str | None:
    """Why the configuration or the modules of a model rule out batched generation; None if they do not.

    Args:
        model: inside PEFT or not.
        declared: of the family: windows, and images whose tokens see each other, if it says so.
    """
    declared = declared or Attention()
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = inner.config.get_text_config()
    known_types = {FULL_ATTENTION, *([SLIDING_ATTENTION] if declared.windows else [])}
    other_types = set(getattr(config, "layer_types", None) or ()) - known_types
    if other_types:
        return f"its text model has layers of type {', '.join(sorted(other_types))}"
    if (
        not getattr(config, "layer_types", None)
        and getattr(config, "sliding_window", None)
        and getattr(config, "use_sliding_window", True)
        and not declared.windows
    ):
        return "its text model has sliding-window attention"
    if getattr(config, "num_kv_shared_layers", None):
        return "layers of its text model share keys and values"
    own_masks = _makes_own_masks(inner) and declared.kind != "image_blocks"
    if getattr(config, "use_bidirectional_attention", None) or own_masks:
        return "its attention is not causal everywhere (bidirectional image tokens, for example)"
    if getattr(config, "is_encoder_decoder", False) or getattr(inner.config, "is_encoder_decoder", False):
        return "it is an encoder-decoder model"
    return _inspect_layers(inner)


def _makes_own_masks(model: Any) -> bool:
    from transformers.generation import GenerationMixin

    method = getattr(type(model), "create_masks_for_generate", None)
    return method is not None and method is not getattr(GenerationMixin, "create_masks_for_generate", None)


def _inspect_layers(model: Any) -> str | None:
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        return "its text model is not a stack of decoder layers"
    indices = []
    for layer in layers:
        attention = getattr(layer, "self_attn", None)
        if not isinstance(attention, nn.Module) or not getattr(attention, "is_causal", False):
            return "a layer of its text model has no causal self-attention"
        if any(hasattr(layer, name) for name in _OTHER_MIXERS):
            return "a layer of its text model mixes tokens by more than self-attention"
        indices.append(getattr(attention, "layer_idx", None))
    return None if indices == list(range(len(layers))) else "its attention layers are not numbered"

"""Whether a model's rows may be answered together: if attention is all that mixes tokens, and it is plainly causal.

What is kept of a prompt here are keys and values of each layer, seen by every later token. A layer with a window sees
fewer, an image whose tokens see each other sees more, a recurrent layer keeps something else, and a model that is given
the size of a cache computes with it. A family says for itself what holds for it (`batched_generation`); besides, the
model's build is looked at.
"""

from typing import TYPE_CHECKING, Any, Final

from torch import nn

from mg_tui.families.contract import Supported, Unsupported

if TYPE_CHECKING:
    from mg_tui.engine.generation.batch import AnsweringModel

FULL: Final = "full_attention"


def why_not(model: "AnsweringModel") -> str | None:
    """Why a model is asked one row at a time; None if its rows are answered together."""
    family = model.encoder.family
    said = family.capability("batched_generation")
    if isinstance(said, Unsupported):
        return said.why
    if family.layout is None:
        return f"{family.title} does not say how its images are laid out"
    found = of_build(model.model)
    if found is None and not isinstance(said, Supported):
        from mg_tui.engine.generation.trial import try_out
        from mg_tui.families.apart import ApartEncoder

        found = try_out(model.model, ApartEncoder(model.encoder))
    return found


def of_build(model: Any) -> str | None:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = inner.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {FULL}:
        return f"its text model has layers of another kind: {', '.join(sorted(kinds - {FULL}))}"
    if not kinds and getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return "its text model attends to a sliding window"
    if getattr(config, "num_kv_shared_layers", None):
        return "layers of its text model share their keys and values"
    if getattr(config, "use_bidirectional_attention", None) or _own_masks(inner):
        return "tokens of an image see each other, or its attention mask is its own in another way"
    if getattr(config, "is_encoder_decoder", False) or getattr(inner.config, "is_encoder_decoder", False):
        return "it is an encoder with a decoder"
    return _of_layers(inner)


def _own_masks(model: Any) -> bool:
    from transformers.generation import GenerationMixin

    made = getattr(type(model), "create_masks_for_generate", None)
    return made is not None and made is not getattr(GenerationMixin, "create_masks_for_generate", None)


def _of_layers(model: Any) -> str | None:
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        return "its text model is not a stack of layers"
    numbers = []
    for layer in layers:
        attention = getattr(layer, "self_attn", None)
        if not isinstance(attention, nn.Module) or not getattr(attention, "is_causal", False):
            return "not every layer of its text model has causal attention"
        if any(hasattr(layer, name) for name in ("cross_attn", "mamba", "linear_attn", "conv")):
            return "a layer of its text model mixes tokens by more than attention"
        numbers.append(getattr(attention, "layer_idx", None))
    return None if numbers == list(range(len(layers))) else "its layers have no numbers"

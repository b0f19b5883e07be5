"""Which capabilities follow from what a family declares; it can narrow them, and never widen them."""

from collections.abc import Mapping
from typing import Final

from mg_tui.families.contract import (
    Attention,
    AttentionKind,
    Capability,
    CapabilityName,
    Experimental,
    Supported,
    Unsupported,
)
from mg_tui.families.image_contract import TokenLayout

# Those that follow from layout and attention.
DERIVED: Final[tuple[CapabilityName, ...]] = ("shared_prefixes", "packing", "kept_features", "batched_generation")
# Those that the conformance kit shows on a small checkpoint, unless a family says that it lacks them.
SHOWN_BY_KIT: Final[tuple[CapabilityName, ...]] = (
    "lora_language",
    "lora_projector",
    "lora_vision",
    "full",
    "nf4",
    "int8",
    "multi_image",
    "merge",
    "batched_generation",
)
# What other programs do with a result, which no check of the kit runs.
_UNTRIED: Final[Mapping[CapabilityName, Experimental]] = {
    "vllm_adapter": Experimental("no adapter of it was served by vLLM here"),
    "vllm_tower_adapter": Experimental("no adapter of it was served by vLLM here"),
    "gguf": Experimental("no GGUF file of it was compared with the model here"),
}
_LEVELS: Final = (Unsupported, Experimental, Supported)  # from the narrowest
_WHY_NOT: Final[Mapping[AttentionKind, str]] = {
    "prefix_lm": "the whole prompt attends to itself in both directions, so no other prompt can share its beginning",
    "cross": "images are no tokens, so a packed pass cannot show each example its own",
    "recurrent": "a recurrent state cannot be forked where examples branch, and packed examples would leak into it",
}


def derive(name: CapabilityName, title: str, layout: TokenLayout | None, attention: Attention) -> Capability | None:
    """What follows for a capability; None where nothing does, and the family alone decides.

    Args:
        name: the capability.
        title: of the family, for reasons.
        layout, attention: what the family declares.
    """
    if name not in DERIVED:
        return None
    if layout is None and name != "batched_generation":
        return Unsupported(f"{title} does not say how its images are laid out")
    why = _WHY_NOT.get(attention.kind)
    if why is not None:
        return Unsupported(f"{attention.why}: {why}" if attention.why else why)
    # Generation has code of its own for the cache, which a family's test has to show.
    return None if name == "batched_generation" else Supported()


def undeclared(name: CapabilityName, *, checked: bool) -> Capability | None:
    """What holds for a capability that a family says nothing of; None: nothing is known.

    Args:
        name: the capability.
        checked: the conformance kit has a small checkpoint of the family to run on.
    """
    if not checked:
        return None
    return Supported() if name in SHOWN_BY_KIT else _UNTRIED.get(name)


def narrower(derived: Capability | None, declared: Capability | None) -> Capability:
    """The narrower one of what follows and what is declared; undeclared is experimental where nothing follows."""
    if derived is None:
        return declared or Experimental("not declared by the family")
    if declared is None:
        return derived
    return min(derived, declared, key=lambda capability: _LEVELS.index(type(capability)))


def widened(derived: Capability | None, declared: Capability) -> bool:
    """Whether a family promises more than follows from what it declares."""
    return derived is not None and _LEVELS.index(type(declared)) > _LEVELS.index(type(derived))

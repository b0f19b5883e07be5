"""Presets: named sets of option values, for `--preset` and the form of a new run.

All built-in presets set the same fields, so that applying one replaces another completely. User presets are tables
`[presets.NAME]` of garden.toml and override built-in presets of the same name.
"""

from collections.abc import Mapping
from typing import Any, Final

from mg_tui.core.errors import UsageError

# Learning rates: about ten times as high for an adapter as for all weights, as in the examples of
# ms-swift and LLaMA-Factory.
BUILT_IN_PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "QLoRA, 24 GB": {
        "train_language": "lora",
        "train_projector": "none",
        "train_vision": "none",
        "quantization": "nf4",
        "optimizer": "adamw",
        "gradient_checkpointing": True,
        "learning_rate": 1e-4,
    },
    "LoRA in bfloat16": {
        "train_language": "lora",
        "train_projector": "none",
        "train_vision": "none",
        "quantization": "none",
        "optimizer": "adamw",
        "gradient_checkpointing": True,
        "learning_rate": 1e-4,
    },
    "LoRA on all parts": {
        "train_language": "lora",
        "train_projector": "lora",
        "train_vision": "lora",
        "quantization": "none",
        "optimizer": "adamw",
        "gradient_checkpointing": True,
        "learning_rate": 1e-4,
    },
    "Full fine-tuning": {
        "train_language": "full",
        "train_projector": "full",
        "train_vision": "full",
        "quantization": "none",
        "optimizer": "paged_adamw_8bit",
        "gradient_checkpointing": True,
        "learning_rate": 1e-5,
    },
}
PRESET_DESCRIPTIONS: Final[Mapping[str, str]] = {
    "QLoRA, 24 GB": "LoRA on a 4-bit language model: 7B on a 24 GB GPU.",
    "LoRA in bfloat16": "LoRA on unquantized weights: slightly more accurate, two to three times the memory.",
    "LoRA on all parts": "LoRA on language model, projector and vision tower: for images unlike photographs.",
    "Full fine-tuning": "Full fine-tuning with 8-bit optimizer states: the most memory, for large datasets.",
}


def find_preset(name: str, own: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The values of a preset; `own` are the user's presets.

    Raises:
        UsageError: there is none of this name.
    """
    known = {**BUILT_IN_PRESETS, **own}
    if name not in known:
        raise UsageError(f"unknown preset {name!r}", hint="presets are " + ", ".join(f'"{preset}"' for preset in known))
    return known[name]

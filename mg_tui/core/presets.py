"""Sets of values that go together, by name: `--preset`, and what the form of a new run offers to begin with.

Each built-in one says the same fields, so that one after another leaves nothing of the one before. A person's own are
kept in garden.toml, `[presets.NAME]`, and take the place of a built-in one of the same name.
"""

from collections.abc import Mapping
from typing import Any, Final

from mg_tui.core.errors import UsageError

# Learning rates: about ten times as high for an adapter as for all weights, as the examples of Qwen2.5-VL's own
# repository, ms-swift and LLaMA-Factory have it.
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
    """The values of a preset; `own` are the person's.

    Raises:
        UsageError: there is none of this name.
    """
    known = {**BUILT_IN_PRESETS, **own}
    if name not in known:
        raise UsageError(f"unknown preset {name!r}", hint="presets are " + ", ".join(f'"{one}"' for one in known))
    return known[name]

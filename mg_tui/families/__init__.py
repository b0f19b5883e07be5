"""Model families: the plugin contract, the registry, defaults for transformers models, the conformance kit.

All that a plugin needs is here: `from mg_tui.families import ModelFamily, Parts, hookimpl`. Importing this package
imports neither torch nor transformers.
"""

from mg_tui.families.contract import (
    CONTRACT_VERSION,
    Attention,
    Batch,
    Checkpoint,
    Collator,
    Experimental,
    LoadRequest,
    Parts,
    Preprocessing,
    Supported,
    Unsupported,
)
from mg_tui.families.family import ModelFamily
from mg_tui.families.hookspec import hookimpl
from mg_tui.families.image_contract import (
    ImageSize,
    TinyCheckpoint,
    TokenLayout,
    Vision,
    grid_positions,
    sequential_positions,
)

__all__ = [
    "CONTRACT_VERSION",
    "Attention",
    "Batch",
    "Checkpoint",
    "Collator",
    "Experimental",
    "ImageSize",
    "LoadRequest",
    "ModelFamily",
    "Parts",
    "Preprocessing",
    "Supported",
    "TinyCheckpoint",
    "TokenLayout",
    "Unsupported",
    "Vision",
    "grid_positions",
    "hookimpl",
    "sequential_positions",
]

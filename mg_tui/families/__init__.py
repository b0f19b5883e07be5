"""Model families: the plugin contract, the registry, defaults for transformers models, the conformance kit.

All that a plugin needs is here: `from mg_tui.families import ModelFamily, Parts, hookimpl`. Importing this package
imports neither torch nor transformers.
"""

from mg_tui.families.contract import (
    Batch,
    Checkpoint,
    Collator,
    Experimental,
    LoadRequest,
    Parts,
    Preprocessing,
    Supported,
    TokenLayout,
    Unsupported,
)
from mg_tui.families.family import ModelFamily
from mg_tui.families.hookspec import hookimpl

__all__ = [
    "Batch",
    "Checkpoint",
    "Collator",
    "Experimental",
    "LoadRequest",
    "ModelFamily",
    "Parts",
    "Preprocessing",
    "Supported",
    "TokenLayout",
    "Unsupported",
    "hookimpl",
]

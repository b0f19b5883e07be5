"""Less to wait for before the first step.

Importing torch, transformers and peft is most of a small run's start. Three things can be left out of it without
touching the libraries: garbage collection while tens of thousands of lasting objects are made; bitsandbytes, which peft
imports wherever it is installed; and packages that libraries import and a run mostly has no use for, which are loaded
when they are first used.
"""

import contextlib
import gc
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mg_tui.engine.when_used import WhenUsed

_owned = False


def own_process() -> None:
    """Say that this process is the worker's alone: what is hidden in it is missed by nobody.

    From here on, what libraries import without much use for it is loaded when it is first used; see `when_used`.
    """
    global _owned
    if not _owned:
        _owned = True
        sys.meta_path.insert(0, WhenUsed())


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """A block that mostly imports: no garbage is looked for, and what stays is never looked at again."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        if _owned:
            gc.freeze()


def leave_out_bitsandbytes(config: Mapping[str, Any] | None, *, quantization: str, optimizer: str) -> bool:
    """Hide bitsandbytes from imports to come when nothing needs it; returns whether it is hidden.

    Args:
        config: the base model's `config.json`; None when it is not known, which leaves everything as it is.
        quantization, optimizer: as they were decided.
    """
    if not _owned or config is None or quantization != "none" or optimizer != "adamw":
        return False
    if config.get("quantization_config") or "bitsandbytes" in sys.modules:
        return False
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]  # what makes `find_spec` say it is not installed
    return True

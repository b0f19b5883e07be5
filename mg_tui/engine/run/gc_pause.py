"""Garbage collection paused while libraries are imported: torch, transformers and peft create tens of thousands of
objects that live on, and each collection meanwhile traverses all of them in vain."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """A block in which no garbage is collected. Blocks may be nested."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

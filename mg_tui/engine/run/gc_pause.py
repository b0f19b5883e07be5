"""Garbage collection paused while libraries are imported: torch, transformers and peft make lasting objects by the tens
of thousands, and each collection among them looks at all of them for nothing."""

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

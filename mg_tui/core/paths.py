"""Paths as users write them."""

import re
from pathlib import Path
from typing import Final

from mg_tui.core.errors import UsageError

# Names that are explicitly not local paths: hub:owner/name, hf://datasets/owner/name.
_REMOTE: Final = re.compile(r"hub:|[a-z][a-z0-9+.-]+://")


def is_remote(text: str) -> bool:
    """Whether a text names something that is not a path on this machine."""
    return _REMOTE.match(text) is not None


def expand_user(path: str | Path) -> Path:
    """`path` with a leading `~` or `~user` expanded.

    Raises:
        UsageError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError("unknown user in path", where=str(path)) from None

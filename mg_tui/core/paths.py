"""Paths as people write them."""

from pathlib import Path

from mg_tui.core.errors import UsageError


def expanded(path: str | Path) -> Path:
    """`path` with a leading `~` or `~user` put in full.

    Raises:
        UsageError: there is no such user here.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError("the path begins with a user that is not on this machine", where=str(path)) from None

"""Which files a dataset may be read from: any for a local user, some folders for a remote caller."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class ReadBounds(Protocol):
    """Folders as texts: what may be read, and what inside these may not; `mg_tui.runs.caller_bounds` has them."""

    @property
    def roots(self) -> Sequence[str]:
        """Folders that may be read."""
        ...

    @property
    def private(self) -> Sequence[str]:
        """Folders and files in them that may not."""
        ...


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """Folders that datasets and their images may lie in; None allows every file.

    Callers of the API may read only the folders that the server names; the CLI and the dashboard pass `ALLOW_ALL`.

    A file is checked by its real path, with every symlink followed: a link inside an allowed folder to a file outside
    is refused. So is a name that begins with a dot below a root, where programs keep their keys, and what lies in
    `private`, unless a root further inside names it again.
    """

    roots: tuple[Path, ...] | None = None
    private: tuple[Path, ...] = ()

    def allows(self, path: Path) -> bool:
        """Whether a file or folder may be read."""
        if self.roots is None:
            return True
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of symlinks, or not a valid name
            return False
        root = _innermost(real, self.roots)
        if root is None or any(part.startswith(".") for part in real.relative_to(root).parts):
            return False
        private = _innermost(real, self.private)
        return private is None or len(root.parts) > len(private.parts)


def _innermost(path: Path, folders: tuple[Path, ...]) -> Path | None:
    """The innermost of these folders, resolved, that has a resolved path in it."""
    inside = [real for real in (folder.resolve() for folder in folders) if path.is_relative_to(real)]
    return max(inside, key=lambda folder: len(folder.parts), default=None)


ALLOW_ALL = ReadPolicy()


def read_policy(bounds: ReadBounds | None) -> ReadPolicy:
    """The policy of a run with these bounds; None allows everything."""
    if bounds is None:
        return ALLOW_ALL
    return ReadPolicy(tuple(map(Path, bounds.roots)), tuple(map(Path, bounds.private)))

"""Which files a dataset may be read from: any for a local user, some folders for a remote caller."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """Folders that datasets and their images may lie in; None allows every file.

    Meant for the coming API, whose remote callers may read only the folders the server names; until then the CLI and
    the dashboard pass `ALLOW_ALL`, and only tests build a restricted policy.

    A file is checked by its real path, with every symlink followed: a link inside an allowed folder to a file outside
    is refused.
    """

    roots: tuple[Path, ...] | None = None

    def allows(self, path: Path) -> bool:
        """Whether a file or folder may be read."""
        if self.roots is None:
            return True
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of symlinks, or not a valid name
            return False
        return any(real.is_relative_to(root.resolve()) for root in self.roots)


ALLOW_ALL = ReadPolicy()

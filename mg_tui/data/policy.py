"""Which files data may be read from: any, for a person at this machine; some folders, for a caller from elsewhere."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """Folders that datasets and their images may lie in; None allows every place.

    A file is judged by where it really is, with every link followed: a link inside an allowed folder that leads out of
    it is refused.
    """

    roots: tuple[Path, ...] | None = None

    def allows(self, path: Path) -> bool:
        """Whether a file or folder may be read."""
        if self.roots is None:
            return True
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links, or no possible name
            return False
        return any(real.is_relative_to(root.resolve()) for root in self.roots)


ALLOW_ALL = ReadPolicy()

"""Where callers may read and write: configured roots, by the resolved real path of what they name."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from mg_tui.core.errors import UsageError
from mg_tui.core.paths import expand_user, is_remote
from mg_tui.data.policy import ReadPolicy
from mg_tui.runs.caller_bounds import CallerBounds

OUTSIDE: Final = "outside the allowed folders"
HOME_FOLDERS: Final = ("runs", "evaluations", "models", "uploads")
_MAX_PATH: Final = 4096
# An absolute path in a sentence: not the path of a URL, and more than one level.
_PATH_IN_TEXT: Final = re.compile(r"(?<![\w.:/])/(?:[^\s/'\",;()]+/)+[^\s/'\",;()]*")


class PathForbidden(UsageError):
    """A path that callers may not name."""


class AllowedPaths:
    """The roots, the working directory that relative paths start from, and what is private in them.

    Args:
        roots: folders that callers may read from and write to.
        cwd: the server's working directory.
        home: the home folder; of it, only `HOME_FOLDERS` are readable: it also holds the tokens.
    """

    def __init__(self, roots: Iterable[Path], cwd: Path, home: Path):
        self.cwd = cwd.resolve()
        self.roots = tuple(dict.fromkeys(root.resolve() for root in roots))
        readable = (*self.roots, *(home.resolve() / name for name in HOME_FOLDERS))
        self.policy = ReadPolicy(readable, (home.resolve(),))

    def bounds(self, *, own_tokens: bool) -> CallerBounds:
        """What a run of a caller may read and use."""
        roots, private = self.policy.roots or (), self.policy.private
        return CallerBounds(tuple(map(str, roots)), tuple(map(str, private)), own_tokens)

    def require(self, text: str, what: str) -> Path:
        """The absolute path that a caller names; it need not exist.

        Raises:
            PathForbidden: its real path is outside the roots, or it cannot be a path.
        """
        if not text or len(text) > _MAX_PATH or "\0" in text or "\\" in text or is_remote(text) or "://" in text:
            raise PathForbidden(f"{what}: not a path")
        path = self.cwd / expand_user(text)
        try:
            allowed = self.policy.allows(path)
        except OSError:
            allowed = False
        if not allowed:
            raise PathForbidden(f"{what}: it is {OUTSIDE}", hint=f"allowed: {self.describe()}")
        return path

    def require_model(self, model: str, known: Sequence[str] = ()) -> None:
        """Refuse a model that is a folder outside the roots; names of runs, aliases and of the Hub stay names.

        Raises:
            PathForbidden: it is such a folder.
        """
        name = model.partition("@")[0]
        if name in known:
            return
        looks_like_path = name.startswith(("/", ".", "~")) or "\\" in name or "\0" in name or name.count("/") > 1
        try:
            exists = (self.cwd / expand_user(name)).exists()
        except (OSError, ValueError):
            looks_like_path, exists = True, False
        if looks_like_path or exists:
            self.require(name, "model")

    def describe(self) -> str:
        """The roots for a message, relative to the working directory where they are inside it."""
        return ", ".join(
            "./" + str(root.relative_to(self.cwd)) if root.is_relative_to(self.cwd) else str(root)
            for root in self.roots
        ).replace("./.", ".")

    def redact(self, text: str) -> str:
        """`text` without absolute paths outside the roots."""
        return _PATH_IN_TEXT.sub(self._redact_match, text)

    def _redact_match(self, match: re.Match[str]) -> str:
        path = match[0].rstrip(".:")
        return match[0] if self._is_shown(path) else "(a path)" + match[0][len(path) :]

    def _is_shown(self, path: str) -> bool:
        try:
            return self.policy.allows(Path(path))
        except (OSError, ValueError):
            return False

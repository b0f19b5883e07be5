"""Where callers may read and write: configured roots, by the resolved real path of what they name."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from mg_tui.core.errors import UsageError
from mg_tui.core.paths import expand_user, is_remote
from mg_tui.data.policy import ReadPolicy
from mg_tui.runs.caller_bounds import CallerBounds
from mg_tui.runs.results import MODELS_FOLDER
from mg_tui.runs.watch_request import OWN_FILES

OUTSIDE: Final = "outside the allowed folders"
HOME_FOLDERS: Final = ("runs", "evaluations", MODELS_FOLDER, "uploads")
OUTPUT_OPTIONS: Final = ("output_dir", "report")  # options that name what is written
_MAX_PATH: Final = 4096
# An absolute path in a sentence: not the path of a URL, and more than one level.
_PATH_IN_TEXT: Final = re.compile(r"(?:(?<![\w./])|(?<=file://))/(?:[^\s/'\",;()]+/)+[^\s/'\",;()]*")


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
        # Beside a run lie the addresses that are told of it, with their keys.
        self.policy = ReadPolicy(readable, (home.resolve(),), OWN_FILES)
        self._writable = ReadPolicy((*self.roots, home.resolve() / MODELS_FOLDER), (home.resolve(),))

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

    def require_output(self, text: str, what: str) -> Path:
        """The absolute path of what a caller's work writes: in a root, or among the results of the home folder, where
        the journals of others are not.

        Raises:
            PathForbidden: as `require`, or it is in another folder of the home.
        """
        path = self.require(text, what)
        if not self._writable.allows(path):
            raise PathForbidden(f"{what}: it is {OUTSIDE} for results", hint=f"allowed: {self.describe()}")
        return path

    def require_option(self, value: str, name: str) -> Path:
        """The path of an option of a spec, which is read or written.

        Raises:
            PathForbidden: as `require` and `require_output`.
        """
        return (self.require_output if name in OUTPUT_OPTIONS else self.require)(value, name)

    def require_model(self, model: str, known: Sequence[str] = ()) -> None:
        """Refuse a model that is a folder outside the roots; names of runs, aliases and of the Hub stay names.

        Raises:
            PathForbidden: it is such a folder.
        """
        name = model.partition("@")[0]
        if name in known:
            return
        if self._exists(model):
            name = model  # a folder may have an @ in its name
        looks_like_path = name.startswith(("/", ".", "~")) or "\\" in name or "\0" in name or name.count("/") > 1
        if looks_like_path or self._exists(name):
            self.require(name, "model")

    def _exists(self, name: str) -> bool:
        """Whether there is such a file or folder; true also for what can be none, which is then refused."""
        try:
            return (self.cwd / expand_user(name)).exists()
        except (OSError, ValueError):
            return True

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

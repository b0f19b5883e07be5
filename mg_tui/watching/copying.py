"""What every place that files are copied to has in common."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from mg_tui.core.redaction import scrub, secrets_of
from mg_tui.core.text import one_line

_CHUNK: Final = 4 << 20


class CopyFailed(Exception):
    """Something could not be copied, removed or listed; the text says why, without secrets."""


class CopyTarget(Protocol):
    """A place for the files of one run. Names are relative, with `/`; every method raises CopyFailed."""

    def put(self, local: Path, names: Sequence[str], folder: str) -> None:
        """Copy files under `local` into a folder of the target, in this order, each compared by hash."""

    def remove(self, folder: str) -> None:
        """Remove a folder of the target with everything in it; one that is not there is no error."""

    def names(self, folder: str) -> list[str]:
        """Every file in a folder of the target, at any depth; empty when there is none."""

    def get(self, folder: str, names: Sequence[str], local: Path) -> None:
        """Copy files from a folder of the target into `local`; those that are there already are kept."""


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def clean(error: BaseException, target: str) -> str:
    """An error of a library as one line without the secrets of the destination."""
    return scrub(one_line(f"{type(error).__name__}: {error}", limit=300), secrets_of(target)[:1])

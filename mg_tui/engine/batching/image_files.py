"""Size and modification time of every image of a run, as they were when it first read them.

A file that is replaced under the same name changes what later steps see. A run keeps these facts in its folder, in
`images.jsonl`, so that the next attempt names what changed since, and compares them whenever a step opens an image.
Does not import torch.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from mg_tui.core.files import write_atomic
from mg_tui.core.text import first_few, pluralize
from mg_tui.runs.journal import JournalWriter

FILE_NAME: Final = "images.jsonl"  # in the run's folder; a line: [bytes, modification time in nanoseconds, path]

MAX_NAMES: Final = 8  # images named in a warning; the others are counted

FileFacts = tuple[int, int]


def read_facts(path: str) -> FileFacts | None:
    """Size in bytes and modification time in nanoseconds; None of a file that cannot be found."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def collect_facts(paths: Iterable[str]) -> dict[str, FileFacts]:
    """Of every image that exists, by path."""
    return {path: facts for path in dict.fromkeys(paths) if (facts := read_facts(path)) is not None}


def load_facts(folder: Path) -> dict[str, FileFacts]:
    """The facts in a run's folder; lines that cannot be read are ignored."""
    found: dict[str, FileFacts] = {}
    with suppress(OSError), (folder / FILE_NAME).open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with suppress(ValueError, TypeError):
                size, mtime, path = json.loads(line)
                found[str(path)] = int(size), int(mtime)
    return found


def save_facts(folder: Path, facts: Mapping[str, FileFacts]) -> None:
    """Write them into a run's folder.

    Raises:
        OSError: they cannot be written.
    """
    lines = (json.dumps([size, mtime, path]) + "\n" for path, (size, mtime) in facts.items())
    write_atomic(folder / FILE_NAME, "".join(lines).encode())


class ChangedImages:
    """Warns of images that changed while the run trains, each once."""

    def __init__(self, journal: JournalWriter):
        self._journal = journal
        self._named: set[str] = set()

    def report(self, step: int, paths: Iterable[str]) -> None:
        """Images of `step` (from 1) that are not what they were when the attempt began."""
        new = [path for path in dict.fromkeys(paths) if path not in self._named]
        if new:
            self._named.update(new)
            self._journal.write(
                "warning",
                what=f"{pluralize(len(new), 'image')} changed while the run trains",
                where=f"step {step}: {first_few(new, MAX_NAMES)}",
                why="size or modification time differ: this step and later ones see the new file",
                hint="restore the files and resume from an earlier checkpoint (--from STEP), or start a new run",
            )


def changed_paths(before: Mapping[str, FileFacts], now: Mapping[str, FileFacts]) -> list[str]:
    """The images that both have with different facts, in order of `now`."""
    return [path for path, facts in now.items() if before.get(path, facts) != facts]

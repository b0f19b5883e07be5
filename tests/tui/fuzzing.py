"""Keys as a terminal sends them, several in one read, and random ones."""

import contextlib
import hashlib
import random
import threading
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from textual import events
from textual.app import App
from textual.keys import REPLACED_KEYS, _character_to_key, _get_unicode_name_from_key

from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.trash import list_trash


def burst(app: App[None], keys: Iterable[str]) -> None:
    """Send keys without waiting between them."""
    for name in keys:
        key = _character_to_key(name) if len(name) == 1 and not name.isalnum() else name
        character = name if len(name) == 1 else None
        if character is None:
            with contextlib.suppress(KeyError):
                character = unicodedata.lookup(_get_unicode_name_from_key(REPLACED_KEYS.get(key, key)))
        event = events.Key(key, character)
        event.set_sender(app)
        app.post_message(event)


PRINTABLE = "abcdefghijklmnopqrstuvwxyzJKMORPG/:?!.,[]{}<>+-0123456789 "
NAMED = (
    *("enter", "escape", "tab", "shift+tab", "up", "down", "left", "right", "pageup", "pagedown", "home", "end"),
    *("space", "backspace", "delete", "ctrl+p", "ctrl+t", "ctrl+o", "ctrl+r", "ctrl+n", "ctrl+l", "f1", "f2"),
)
PALETTE = ("pageup", "pagedown", "up", "down", "home", "end", "enter", "escape", "backspace", "r", "e", "z", "ctrl+p")
SIZES = ((60, 20), (64, 22), (74, 24), (80, 24), (100, 30), (120, 40), (160, 50))
PLACES = "12345"
CHANGED_FREELY = ("control", "lock", "queue.json", "annotations.json")


def random_keys(dice: random.Random, count: int) -> list[str]:
    """Keys as somebody might hit them: letters, named keys, and q only rarely."""
    keys = []
    for _ in range(count):
        key = dice.choice(NAMED) if dice.random() < 0.45 else dice.choice(PRINTABLE)
        keys.append(dice.choice(PLACES) if key == "q" and dice.random() < 0.98 else key)
    return keys


def palette_keys(dice: random.Random, count: int) -> list[str]:
    """Keys for the command palette: moving by page in a list that changes, choosing twice, closing while it fills."""
    return [dice.choice(PALETTE) for _ in range(count)]


class LiveRun(threading.Thread):
    """Stands in for the worker of a running run: a step every `seconds`, with a line of log."""

    def __init__(self, folder: RunFolder, step: int, seconds: float = 0.25, *, scores: bool = True) -> None:
        super().__init__(daemon=True)
        self._scores = scores
        self.folder = folder
        self._step, self._seconds, self._ended = step, seconds, threading.Event()

    def run(self) -> None:
        with JournalWriter(self.folder.journal_file) as journal, self.folder.log_file.open("a") as log:
            while not self._ended.wait(self._seconds):
                self._step += 1
                loss = 1 / self._step
                journal.write(
                    "step", step=self._step, loss=loss, seconds=self._seconds, tokens=900, device_memory=1 << 30
                )
                if self._step % 20 == 0:
                    metrics = {"anls": loss} if self._scores else {}
                    journal.write("eval", step=self._step, loss=loss, seconds=0.1, examples=8, metrics=metrics)
                log.write(f"step {self._step} loss {loss:.4f}\n")
                log.flush()

    def end(self) -> None:
        """Let it end, and wait for it."""
        self._ended.set()
        self.join()


def tree_digest(folder: Path) -> dict[str, str]:
    """The digest of every file below a folder, by its path there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run_files(home: Path, live: str | None = None) -> dict[str, dict[str, str]]:
    """The digest of every file of every run in the home and its trash, by the run's id.

    Without requests to the worker, the place in the queue and annotations, which keys change that do not ask, and
    without locks; of the run `live`, without journal and log.
    """
    folders = [*(home / "runs").iterdir()] + [run.path for run in list_trash(home)]
    found = {}
    for folder in folders:
        id = folder.name if folder.parent.name == "runs" else folder.name.partition("-")[2]
        changing = (*CHANGED_FREELY, *(("events.jsonl", "worker.log") if id == live else ()))
        found[id] = {name: one for name, one in tree_digest(folder).items() if Path(name).parts[0] not in changing}
    return found

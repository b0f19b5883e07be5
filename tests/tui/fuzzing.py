"""Keys as a terminal sends them, several in one read, and random ones."""

import contextlib
import hashlib
import random
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from textual import events
from textual.app import App
from textual.keys import REPLACED_KEYS, _character_to_key, _get_unicode_name_from_key

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


def run_files(home: Path) -> dict[str, dict[str, str]]:
    """The digest of every file of every run in the home and its trash, by the run's id.

    Without requests to the worker, the place in the queue and annotations, which keys change that do not ask, and
    without locks.
    """
    folders = [*(home / "runs").iterdir()] + [run.path for run in list_trash(home)]
    found = {}
    for folder in folders:
        id = folder.name if folder.parent.name == "runs" else folder.name.partition("-")[2]
        found[id] = {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.relative_to(folder).parts[0] not in CHANGED_FREELY
        }
    return found

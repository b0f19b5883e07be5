"""Keys as a terminal sends them: several in one read."""

import contextlib
import unicodedata
from collections.abc import Iterable

from textual import events
from textual.app import App
from textual.keys import REPLACED_KEYS, _character_to_key, _get_unicode_name_from_key


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

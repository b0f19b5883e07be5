"""The form of a new run between two sessions: what was typed, in `<home>/draft.json` (see `json_store`)."""

from pathlib import Path
from typing import Final

from mg_tui.runs import json_store
from mg_tui.tui.new.draft import RunDraft

FILE_NAME: Final = "draft.json"
_SECRET_FIELDS: Final = frozenset({"notify", "sync", "when_done"})


def save_draft(home: Path, draft: RunDraft) -> None:
    """Keep the values that were set in the form, valid or not, and the folder that relative paths start from.

    Addresses of notification services and commands may have secrets in them, and are not kept.
    """
    if draft.typed_values or (home / FILE_NAME).exists():
        values = {name: value for name, value in draft.typed_values.items() if name not in _SECRET_FIELDS}
        json_store.save(home / FILE_NAME, {"values": values, "cwd": str(draft.cwd)})


def restore_draft(home: Path, draft: RunDraft) -> bool:
    """Fill a new draft with what was kept; whether there was anything. Fields that no longer exist are left out."""
    kept = json_store.load(home / FILE_NAME)
    values, cwd = kept.get("values"), kept.get("cwd")
    if not isinstance(values, dict) or not values:
        return False
    draft.set_all({name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    if not draft.typed_values:
        return False
    if isinstance(cwd, str) and Path(cwd).is_dir():
        draft.cwd = Path(cwd)
    return True

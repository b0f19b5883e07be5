"""How well results answered when they were examined here, kept in `<home>/examined.json` (see `json_store`)."""

import time
from pathlib import Path
from typing import Final

from mg_tui.tui import json_store

FILE_NAME: Final = "examined.json"
MAX_SCORES: Final = 500


def read(home: Path) -> dict[str, float]:
    """The share of exact answers by the result's folder, the newest examination of each."""
    found = {}
    for given, item in json_store.load(home / FILE_NAME).items():
        share = item.get("exact_match") if isinstance(item, dict) else None
        if isinstance(share, int | float) and 0 <= share <= 1:
            found[given] = float(share)
    return found


def remember(home: Path, given: str, *, exact: int, rows: int) -> None:
    """Keep that `exact` of `rows` answers of a result were the expected ones."""
    record = {"exact_match": exact / rows, "rows": rows, "when": time.time()}
    others = {key: value for key, value in json_store.load(home / FILE_NAME).items() if key != given}
    json_store.save(home / FILE_NAME, dict(list({**others, given: record}.items())[-MAX_SCORES:]))

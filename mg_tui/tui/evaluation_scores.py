"""Exact match of results that were evaluated in the dashboard, in `<home>/examined.json` (see `json_store`)."""

import time
from pathlib import Path
from typing import Final

from mg_tui.runs import json_store

FILE_NAME: Final = "examined.json"
MAX_SCORES: Final = 500


def read(home: Path) -> dict[str, float]:
    """The share of exact answers by the result's folder, of its newest evaluation."""
    scores = {}
    for reference, item in json_store.load(home / FILE_NAME).items():
        share = item.get("exact_match") if isinstance(item, dict) else None
        if isinstance(share, int | float) and 0 <= share <= 1:
            scores[reference] = float(share)
    return scores


def remember(home: Path, reference: str, *, exact: int, rows: int) -> None:
    """Record that `exact` of `rows` answers of a result were the expected ones."""
    record = {"exact_match": exact / rows, "rows": rows, "when": time.time()}
    others = {key: value for key, value in json_store.load(home / FILE_NAME).items() if key != reference}
    json_store.save(home / FILE_NAME, dict(list({**others, reference: record}.items())[-MAX_SCORES:]))

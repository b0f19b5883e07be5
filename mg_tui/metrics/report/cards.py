"""The rows of a report: which are shown, and what is shown of each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mg_tui.core.text import one_line, printable
from mg_tui.metrics.report.thumbnails import Thumbnails
from mg_tui.metrics.results.reading import Results
from mg_tui.metrics.results.records import AnsweredRow
from mg_tui.metrics.uncertainty import Comparison

_MAX_CHARACTERS: Final = 4000  # characters of an answer
_MAX_IMAGES: Final = 4  # of a row


@dataclass(frozen=True, slots=True)
class Card:
    """A row of the dataset.

    Attributes:
        before: the answer of the model compared with; None where there is none.
        images: a data URI (None where the image cannot be shown) and a name, with the reason.
        kinds: the lists it is in, of "worst", "fixed" and "broken".
        state: "fixed", "broken" or empty.
    """

    row: int
    question: str
    references: list[str]
    answer: str
    before: str | None
    error: str
    images: list[tuple[str | None, str]]
    columns: list[tuple[str, str]]
    scores: list[tuple[str, str]]
    kinds: list[str]
    state: str


def select_rows(
    results: Results, worst: Sequence[int], comparison: Comparison | None, most: int
) -> tuple[list[tuple[int, list[str]]], dict[str, int], dict[str, int]]:
    """Places of the rows to show, the worst first, with the lists each is in; how many of each are shown, and exist."""
    numbers = [row.row for row in results.rows]
    fixed = set(comparison.fixed) if comparison else set()
    broken = set(comparison.broken) if comparison else set()
    lists = {
        "worst": list(worst),
        "fixed": [place for place in worst if numbers[place] in fixed],
        "broken": [place for place in worst if numbers[place] in broken],
    }
    kinds: dict[int, list[str]] = {}
    for name, places in lists.items():
        for place in places[:most]:
            kinds.setdefault(place, []).append(name)
    counts = {name: min(len(places), most) for name, places in lists.items()}
    totals = {name: len(places) for name, places in lists.items()}
    return [(place, kinds[place]) for place in worst if place in kinds], counts, totals


def make_card(results: Results, before: Results | None, place: int, kinds: list[str], thumbnails: Thumbnails) -> Card:
    """The card of the row at a place."""
    row: AnsweredRow = results.rows[place]
    state = next((kind for kind in ("broken", "fixed") if kind in kinds), "")
    shown = [
        (as_text(metric["title"], 60), as_number(results.scores[metric["name"]][place]))
        for metric in results.summary["metrics"]
    ]
    return Card(
        row=row.row,
        question=_block(row.question),
        references=[_block(_reference(reference)) for reference in row.references[:10]],
        answer=_block(row.answer),
        before=_block(before.rows[place].answer) if before is not None else None,
        error=as_text(row.error or "", 300),
        images=[thumbnails.of(path) for path in row.images[:_MAX_IMAGES]],
        columns=[(as_text(name, 40), as_text(value, 80)) for name, value in list(row.columns.items())[:8]],
        scores=shown,
        kinds=kinds,
        state=state,
    )


def _reference(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_number(value: float) -> str:
    """A score as it is shown."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def as_text(value: Any, limit: int) -> str:
    """A value on one line, without what could escape."""
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), limit=limit)


def _block(text: str) -> str:
    return printable(text.strip("\n"), limit=_MAX_CHARACTERS)

"""Rows of an evaluation that have the words searched for, found by a thread."""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.core.errors import GardenError, describe_exception
from mg_tui.tui.evaluations.detail import EvaluationDetail
from mg_tui.tui.posting import post

if TYPE_CHECKING:
    from mg_tui.metrics.results.index import RowIndex


@dataclass(frozen=True, slots=True)
class SearchKey:
    """What was searched: these words in so many rows of the model and of the one that it is compared with."""

    words: tuple[str, ...]
    rows: "RowIndex"
    count: int
    before: "RowIndex | None"
    before_count: int

    @classmethod
    def of(cls, text: str, detail: EvaluationDetail) -> "SearchKey | None":
        """For a text that was typed; None when it has no words."""
        words = tuple(text.casefold().split())
        return cls(words, detail.rows, detail.count, detail.before, detail.before_count) if words else None


class RowsFound(Message):
    """Places of the rows that have the words; `problem` says why they could not be searched."""

    def __init__(self, key: SearchKey, places: frozenset[int], problem: str = "") -> None:
        super().__init__()
        self.key, self.places, self.problem = key, places, problem


class RowSearch:
    """Searches question, references, answer and columns of each of the two models' rows; a row is found when one of
    the two has every word. Only the newest search is answered."""

    def __init__(self, target: MessagePump) -> None:
        self._target = target
        self._wanted: SearchKey | None = None

    def request(self, key: SearchKey) -> None:
        """Search, unless these words are being searched already: rows that came since are for the next search."""
        current = self._wanted
        if current is None or (current.words, current.rows, current.before) != (key.words, key.rows, key.before):
            self._wanted = key
            threading.Thread(target=self._run, args=(key,), daemon=True, name="search").start()

    def end(self) -> None:
        """Answer no search any more that was requested before; does not wait."""
        self._wanted = None

    def _run(self, key: SearchKey) -> None:
        def wanted() -> bool:
            return self._wanted is key

        found: set[int] = set()
        problem = ""
        try:
            found.update(key.rows.search(key.words, key.count, wanted))
            if key.before is not None:
                of_before = key.before.search(key.words, key.before_count, wanted)
                numbers = [key.before.numbers[place] for place in of_before]
                found.update(place for number in numbers if (place := key.rows.place_of(number)) is not None)
        except GardenError as error:
            problem = str(error)
        except Exception as error:  # a bug must not vanish with its thread
            problem = describe_exception(error)
        if wanted():
            post(self._target, RowsFound(key, frozenset(found), problem))

"""The rows of an evaluation by place, read when they are asked for; also while they are being written.

Per row only a few numbers are kept: where its line begins, its number, its scores, whether it has an error, and its
values in the columns that are grouped by. One thread calls `refresh`, any number may read.
"""

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError, EnvironmentProblem
from mg_tui.metrics.results.files import SUMMARY
from mg_tui.metrics.results.records import AnsweredRow, parse_row

LINES_PER_READ: Final = 4_000
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class IndexedRow:
    """A row that was read: its answer, and its scores by metric, empty while the evaluation runs."""

    row: AnsweredRow
    scores: dict[str, float]


class RowIndex:
    """The lines of `rows.jsonl` or `answers.jsonl`; only complete lines count, and the first of a row.

    Args:
        path: the file; it need not exist yet.
        metrics: names of the metrics whose scores are kept.
        columns: names of the columns whose values are kept.

    Attributes:
        numbers: row numbers by place; its length is the number of rows that can be read.
        scores: by metric, one score a place; NaN where the line has none.
        columns: by name, one value a place; None where the row has none.
        errors: places of rows that could not be answered, ascending.
        damaged: count of lines that are no rows.
    """

    def __init__(self, path: Path, metrics: Sequence[str] = (), columns: Sequence[str] = ()):
        self.path = path
        self.numbers = array("q")
        self.scores: dict[str, array[float]] = {name: array("d") for name in metrics}
        self.columns: dict[str, list[Any]] = {name: [] for name in columns}
        self.errors = array("Q")
        self.damaged = 0
        self._offsets = array("Q")
        self._places: dict[int, int] = {}
        self._shared: dict[Any, Any] = {}
        self._end = 0  # offset behind the last line that was read

    def __len__(self) -> int:
        return len(self.numbers)

    def place_of(self, number: int) -> int | None:
        """The place of a row by its number."""
        return self._places.get(number)

    def refresh(self, lines: int = LINES_PER_READ) -> bool:
        """Read new complete lines, about `lines` of them; returns whether there are more.

        Raises:
            EnvironmentProblem: the file is there and cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._end)
                return self._read(file, lines)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def _read(self, file: Any, lines: int) -> bool:
        while lines > 0:
            block = file.readlines(_READ_BYTES)[:lines]
            for line in block:
                if not line.endswith(b"\n"):
                    return False
                self._add(line)
                self._end += len(line)
            if not block:
                return False
            lines -= len(block)
            file.seek(self._end)
        return True

    def _add(self, line: bytes) -> None:
        try:
            values = json.loads(line)
            number, columns = values["row"], values["columns"]
            sound = isinstance(number, int) and isinstance(values["answer"], str) and isinstance(columns, dict)
        except (ValueError, KeyError, TypeError, RecursionError):
            sound = False
        if not sound:
            self.damaged += 1
            return
        if number in self._places:
            return
        given = values.get("scores")
        scores = given if isinstance(given, dict) else {}
        for name, kept in self.scores.items():
            score = scores.get(name)
            kept.append(float(score) if isinstance(score, int | float) else nan)
        for name, cells in self.columns.items():
            value = columns.get(name)
            cells.append(self._shared.setdefault((type(value), value), value) if _is_plain(value) else None)
        place = len(self.numbers)
        if values.get("error") is not None:
            self.errors.append(place)
        self._offsets.append(self._end)
        self._places[number] = place
        self.numbers.append(number)  # last: from now on the place can be read

    def search(self, words: Sequence[str], count: int, wanted: Callable[[], bool] = lambda: True) -> Iterator[int]:
        """Places under `count` whose question, references, answer, error or columns have every word, in any case.

        Args:
            words: folded (`str.casefold`).
            count: how many places are searched.
            wanted: asked now and then; the search ends when it says no.

        Raises:
            EnvironmentProblem: the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                for place in range(count):
                    if place % 256 == 0 and not wanted():
                        return
                    file.seek(self._offsets[place])
                    text = _text_of(file.readline())
                    if all(word in text for word in words):
                        yield place
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def read(self, place: int) -> IndexedRow:
        """A row in full.

        Raises:
            IndexError: there is no such place.
            EnvironmentProblem: the file cannot be read.
            DataError: its line is not what it was.
        """
        offset, number = self._offsets[place], self.numbers[place]
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                line = file.readline()
        except OSError as error:
            raise _unreadable(self.path, error) from None
        row = parse_row(line)
        if row is None or row.row != number:
            raise DataError(
                f"row {number} cannot be read any more",
                where=str(self.path),
                why="the file changed since it was opened",
                hint="open the evaluation again",
            )
        return IndexedRow(row, {name: values[place] for name, values in self.scores.items()})


def _text_of(line: bytes) -> str:
    """What a person may search for in a row, folded; empty for a line that is no row any more."""
    row = parse_row(line)
    if row is None:
        return ""
    values = [row.question, row.answer, row.error or "", *row.references, *row.columns.values()]
    texts = (
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str) for value in values
    )
    return "\n".join(texts).casefold()


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The content of `summary.json`; None while the evaluation is not finished.

    Raises:
        DataError: it is damaged.
        EnvironmentProblem: it cannot be read.
    """
    path = folder / SUMMARY
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:
        raise damaged_results(path, f"it is not JSON: {error}") from None
    why = _summary_problem(found)
    if why:
        raise damaged_results(path, why)
    summary: dict[str, Any] = found
    return summary


def damaged_results(path: Path, why: str) -> DataError:
    """The error for a file of an evaluation that is not what was written."""
    return DataError(
        "the results of the evaluation are damaged",
        where=str(path),
        why=why,
        hint="start the evaluation again; answers are in answers.jsonl",
    )


def _summary_problem(found: Any) -> str:
    """Why a value is no summary; empty when it is one, with everything that a reader needs."""
    if not isinstance(found, dict):
        return "it is not an object"
    if not isinstance(found.get("rows"), int):
        return "rows is not a number"
    metrics, groups = found.get("metrics"), found.get("groups")
    if not isinstance(metrics, list) or not all(_has(one, _METRIC) for one in metrics):
        return "metrics is not a list of scores"
    if not isinstance(groups, dict) or not all(
        isinstance(part, list) and all(_has(one, _GROUP) for one in part) for part in groups.values()
    ):
        return "groups is not a table of scores"
    return ""


_NUMBER: Final = (int, float)
_METRIC: Final[dict[str, Any]] = {
    "name": str,
    "title": str,
    "score": _NUMBER,
    "low": _NUMBER,
    "high": _NUMBER,
    "higher_is_better": bool,
}
_GROUP: Final[dict[str, Any]] = {"value": str, "rows": int, "score": _NUMBER, "low": _NUMBER, "high": _NUMBER}


def _has(value: Any, kinds: dict[str, Any]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), kind) for name, kind in kinds.items())


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float)


def _unreadable(path: Path, error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem("the results of the evaluation cannot be read", where=str(path), why=error.strerror)

"""Problems of rows, the error that lists them, and the file of rejected rows."""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mg_tui.core.errors import DataError
from mg_tui.core.text import first_few, one_line

MAX_LISTED_PROBLEMS: Final = 20
_MAX_LISTED_ROWS: Final = 8  # of one problem that several rows have


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One reason why one row cannot be trained on.

    Attributes:
        row: the row's number: lines of the file from 1.
        field: the field at fault, as the file names it; None when the row as a whole is.
        what: the reason, as the end of a sentence that begins with the row and the field; safe to print.
        hint: what to try, if known; safe to print.
        raw: the row as the file has it, unsafe to print. Bytes that are not UTF-8 are kept as surrogate escapes:
            `raw.encode("utf-8", "surrogateescape")` gives the bytes of the file.
        origin: the row's own number and dataset where several were put together; safe to print.
    """

    row: int
    field: str | None
    what: str
    hint: str | None = None
    raw: str = ""
    origin: str | None = None

    def __str__(self) -> str:
        where = self.origin or f"row {self.row}"
        where += f", field {quote_text(self.field)}" if self.field is not None else ""
        return f"{where}: {self.what}"


class BadRows(DataError):
    """Rows that cannot be trained on; `problems` has all of them, the message lists the first 20."""

    def __init__(self, problems: Sequence[RowProblem], *, where: str, examples: int = 0):
        self.problems = tuple(problems)
        bad = len({problem.row for problem in self.problems})
        rows = f"{bad:,} row{'s' if bad != 1 else ''}"
        heading = f"{rows} of {bad + examples:,} are invalid:"
        groups = _group_alike(self.problems)
        lines = [f"  {_describe_group(group)}" for group in groups[:MAX_LISTED_PROBLEMS]]
        rest = [problem for group in groups[MAX_LISTED_PROBLEMS:] for problem in group]
        if rest:
            first, last = min(problem.row for problem in rest), max(problem.row for problem in rest)
            lines.append(f"  and {len(rest):,} more, in rows {first:,} to {last:,}")
        super().__init__("\n".join([heading, *lines]), where=where, hint=_common_hints(self.problems))

    def as_dict(self) -> dict[str, object]:
        listed = [
            {
                "row": p.row,
                "field": p.field,
                "what": p.what,
                "hint": p.hint,
                **({"origin": p.origin} if p.origin else {}),
            }
            for p in self.problems
        ]
        return {**super().as_dict(), "problems": listed}


def _group_alike(problems: Iterable[RowProblem]) -> list[list[RowProblem]]:
    """Problems that differ only in their row together, in the order of the first of each."""
    groups: dict[tuple[str | None, str], list[RowProblem]] = {}
    for problem in problems:
        groups.setdefault((problem.field, problem.what), []).append(problem)
    return list(groups.values())


def _describe_group(group: Sequence[RowProblem]) -> str:
    """One line for all of them; the rows are named as far as there is room."""
    if len(group) == 1:
        return str(group[0])
    rows = first_few([f"{problem.row:,}" for problem in group], _MAX_LISTED_ROWS)
    field = f", field {quote_text(group[0].field)}" if group[0].field is not None else ""
    return f"rows {rows}{field}: {group[0].what}"


def _common_hints(problems: Iterable[RowProblem]) -> str:
    """The three most frequent hints, each once, then the option that skips the rows."""
    counts = Counter(problem.hint for problem in problems if problem.hint)
    hints = [hint for hint, _count in counts.most_common(3)]
    return "; ".join([*hints, f"{'or ' if hints else ''}skip them with --on-bad-row skip"])


def write_rejects(path: Path, problems: Iterable[RowProblem]) -> int:
    """Write rejected rows to a file, one `reject_line` each; returns the number of rows.

    The file replaces an older one atomically.

    Raises:
        OSError: the file cannot be written.
    """
    rows: dict[int, list[RowProblem]] = {}
    for problem in problems:
        rows.setdefault(problem.row, []).append(problem)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii", newline="\n") as file:
            for row, row_problems in sorted(rows.items()):
                file.write(reject_line(row, row_problems, row_problems[0].raw) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return len(rows)


def reject_line(row: int, problems: Iterable[RowProblem], raw: str) -> str:
    """A rejected row as a line of JSON: `{"row", "problems": [{"field", "what", "hint"}], "raw"}`, and "origin" where
    several datasets were put together.

    `raw` is the row exactly as the file has it (see `RowProblem.raw`). The line is ASCII: escaped surrogates survive a
    file that has to be UTF-8.
    """
    problems = list(problems)
    reasons = [{"field": problem.field, "what": problem.what, "hint": problem.hint} for problem in problems]
    origin = next((problem.origin for problem in problems if problem.origin), None)
    return json.dumps({"row": row, **({"origin": origin} if origin else {}), "problems": reasons, "raw": raw})


def quote_text(text: str, *, limit: int = 160) -> str:
    """Text from a file in quotes, on one line, safe to print and to encode."""
    return f'"{safe_line(text, limit=limit)}"'


def safe_line(text: str, *, limit: int | None = None) -> str:
    """Text from a file on one line, safe to print and to encode: lone surrogates become question marks."""
    if limit is not None:
        text = text[: limit + 1]
    return one_line(text.encode("utf-8", "replace").decode("utf-8"), limit=limit)

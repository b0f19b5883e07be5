"""A row of a dataset, whatever file it came from."""

from dataclasses import dataclass
from typing import Any, Final

from mg_tui.data.row_problems import RowProblem

# A row is text and a few paths. Beyond this a "line" is another kind of file, and reading it would cost its memory.
MAX_ROW_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number from 1, its values, or else the problem that kept it from having any.

    `offset` and `length` say where the row's bytes are in a text file (unpacked, when it is compressed), its line end
    included. A row that is not bytes of a text file has length 0.
    """

    number: int
    values: dict[str, Any] | None
    problem: RowProblem | None
    offset: int = 0
    length: int = 0

"""A row of a dataset of any format."""

from dataclasses import dataclass
from typing import Any, Final

from mg_tui.data.row_problems import RowProblem

# A row is text and a few paths. A longer "line" is another kind of file, and would have to be held in memory.
MAX_ROW_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number from 1, and its values, or the problem that prevented reading them.

    `offset` and `length` locate the row's bytes in a text file (decompressed, if it is compressed), the line end
    included. A row of another format has length 0.
    """

    number: int
    values: dict[str, Any] | None
    problem: RowProblem | None
    offset: int = 0
    length: int = 0

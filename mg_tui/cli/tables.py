"""The one style of tables: headings in capitals, columns two blanks apart, no lines between them."""

import os
import sys
from collections.abc import Collection, Sequence
from typing import Final

from mg_tui.core.text import one_line

_GAP: Final = "  "
_LEAST_WRAPPED: Final = 24  # columns for the last cell; with fewer the line is cut instead


def format_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None, right: Collection[str] = ()
) -> list[str]:
    """A table as lines.

    Args:
        headings: one for each cell of a row; written in capitals.
        rows: cells that are safe to print, each on one line.
        width: columns of the terminal: the last cell is wrapped, or the line cut, to fit. None: as long as it is.
        right: headings of columns that are aligned to the right.
    """
    return [line for lines in format_rows(headings, rows, width=width, right=right) for line in lines]


def format_rows(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None, right: Collection[str] = ()
) -> list[list[str]]:
    """The lines of the headings, then those of each row: for tables with notes between rows."""
    from rich.cells import cell_len, set_cell_size

    table = [[heading.upper() for heading in headings], *([*row] for row in rows)]
    widths = [max(cell_len(row[at]) for row in table) for at in range(len(headings))]
    before = sum(widths[:-1]) + len(_GAP) * (len(headings) - 1)
    room = None if width is None else width - before
    wraps = room is not None and room < widths[-1] and room >= _LEAST_WRAPPED
    formatted = []
    for row in table:
        cells = [
            " " * (widths[at] - cell_len(cell)) + cell if headings[at] in right else set_cell_size(cell, widths[at])
            for at, cell in enumerate(row[:-1])
        ]
        pieces = _wrap(row[-1], room) if wraps and room is not None else [row[-1]]
        if headings[-1] in right:
            pieces = [" " * (widths[-1] - cell_len(pieces[0])) + pieces[0]]
        lines = [_GAP.join([*cells, pieces[0]]), *(" " * before + piece for piece in pieces[1:])]
        cut = (set_cell_size(line, width) if width and cell_len(line) > width else line for line in lines)
        formatted.append([line.rstrip() for line in cut])
    return formatted


def format_noted_rows(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str | None],
    *,
    width: int | None,
    right: Collection[str] = (),
) -> list[str]:
    """A table as lines, in which a row may have a note: a line of its own after it. `notes` has one for each row."""
    from rich.cells import cell_len, set_cell_size

    lines: list[str] = []
    for row, note in zip(format_rows(headings, rows, width=width, right=right), [None, *notes], strict=True):
        lines += row
        if note:
            line = f"  ! {one_line(note)}"
            lines.append(set_cell_size(line, width).rstrip() if width and cell_len(line) > width else line)
    return lines


def terminal_width() -> int | None:
    """The columns of the terminal that standard output goes to; None when it is not one (COLUMNS counts)."""
    if columns := os.environ.get("COLUMNS", ""):
        return int(columns) if columns.isdecimal() and int(columns) else None
    return os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else None


def _wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` columns, broken at blanks where there are any."""
    from rich.console import Console
    from rich.text import Text

    lines = Text(text).wrap(Console(width=width), width)
    return [line.plain.rstrip() for line in lines] or [""]

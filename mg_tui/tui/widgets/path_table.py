"""A table of files to pick from, and of what was opened before."""

from time import time
from typing import ClassVar

from textual.content import Content

from mg_tui.tui import formatting
from mg_tui.tui.path_completion import PathEntry
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.table import Column, Table


class PathTable(Table[PathEntry]):
    """Recent entries with their age, then folders and files."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("label", "Name", 20, grow=1),
        Column("about", "", 9, drop_rank=1, align_right=True),
    )

    def key_of(self, row: PathEntry) -> str:
        return f"{row.opened_at is not None}{row.is_this_folder}{row.reference}"

    def cell_of(self, row: PathEntry, key: str, width: int) -> Content:
        if key == "about":
            return Content.styled(age_or_size(row.opened_at, row.bytes), tone("dim"))
        if row.is_this_folder:
            return Content.styled(f"↵ {row.label}", tone("key", "bold"))
        if row.opened_at is not None:
            return line(("↺ ", tone("eval")), row.label)
        if row.is_folder:
            return line(("▸ ", tone("dim")), (row.label, tone("key")))
        return line("  ", row.label)


def age_or_size(opened_at: float | None, size: int | None) -> str:
    """How long ago something was opened (Unix time, 0 when unknown); else a size in bytes; empty without either."""
    if opened_at:
        return formatting.age(time() - opened_at)
    return formatting.size(size) if size else ""

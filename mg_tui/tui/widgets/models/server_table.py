"""The table of servers, and the preview of the selected one."""

from typing import ClassVar

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.models.served import ServerRow
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, line
from mg_tui.tui.widgets.table import Column, Table


class ServerTable(Table[ServerRow]):
    """Servers, newest first."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("state", "State", 12, grow=1, max_width=20),
        Column("models", "Models", 18, grow=3, max_width=48),
        Column("url", "Address", 26, grow=1, max_width=34, drop_rank=2),
        Column("requests", "Requests", 8, drop_rank=3, align_right=True),
        Column("rate", "Per s", 6, align_right=True),
        Column("latency", "Latency", 8, drop_rank=1, align_right=True),
    )

    def key_of(self, row: ServerRow) -> str:
        return row.id

    def cell_of(self, row: ServerRow, key: str, width: int) -> Content:
        match key:
            case "state":
                style = "running" if row.running else "failed" if row.problem else "dim"
                return Content.styled(one_line(row.state, limit=40), tone(style))
            case "models":
                return Content(one_line(row.models, limit=100))
            case "url":
                return Content(row.url or formatting.DASH)
            case "requests":
                return Content(formatting.DASH if row.requests is None else f"{row.requests:,}")
            case "rate":
                return Content(formatting.DASH if row.rate is None else f"{row.rate:.1f}")
            case _:
                return Content(formatting.DASH if row.latency is None else f"{row.latency:.2f} s")


class ServerPreview(Lines):
    """The selected server: its address, whether it answers as trained, or why it failed."""

    DEFAULT_CSS = """
    ServerPreview { height: 3; background: $surface; padding: 0 1; }
    """
    row: reactive[ServerRow | None] = reactive(None, repaint=False)

    def watch_row(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        row = self.row
        if row is None:
            return [Content()]
        lines = [line((row.id, "bold"), (f"  {row.url}" if row.url else "", tone("key")))]
        if row.problem:
            lines += Content.styled(one_line(row.problem, limit=400), tone("failed")).wrap(width)
        elif row.proof:
            lines += Content(one_line(row.proof, limit=400)).wrap(width)
        if row.first_token is not None:
            lines.append(Content.styled(f"first token after {row.first_token:.2f} s", tone("dim")))
        return lines[: max(self.size.height, 3)]

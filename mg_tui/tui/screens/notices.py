"""What the dashboard has said: passing messages, kept so that none is missed."""

import time
from dataclasses import dataclass
from typing import Final

from textual.content import Content
from textual.notifications import SeverityLevel

from mg_tui.core.text import printable
from mg_tui.tui.screens.modal import TextModal
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, hanging, line

KEPT: Final = 200
_SIGNS: Final = {"information": ("·", "key"), "warning": ("⚠", "eval"), "error": ("✗", "failed")}


@dataclass(frozen=True, slots=True)
class Notice:
    """A message: when (Unix time in seconds), how grave, its title and its text."""

    time: float
    severity: SeverityLevel
    title: str
    text: str


class Notices(Lines):
    """Messages, newest first."""

    def __init__(self, said: tuple[Notice, ...]) -> None:
        super().__init__()
        self._said = said

    def lines(self, width: int) -> list[Content]:
        lines: list[Content] = []
        for notice in reversed(self._said):
            sign, colour = _SIGNS[notice.severity]
            clock = time.strftime("%H:%M:%S", time.localtime(notice.time))
            head = line((clock, tone("dim")), " ", (sign, tone(colour, "bold")))
            title = f"{printable(notice.title)}\n" if notice.title else ""
            lines += hanging(head, line((title, "bold"), printable(notice.text)), 11, width)
        return lines or [Content.styled("Nothing was said yet.", tone("dim"))]


class NoticesScreen(TextModal):
    """The messages, to scroll through."""

    heading = "Messages"

    def __init__(self, said: tuple[Notice, ...]) -> None:
        super().__init__()
        self._said = said

    def body(self) -> Notices:
        return Notices(self._said)

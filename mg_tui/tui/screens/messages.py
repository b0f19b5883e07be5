"""What the dashboard has said: passing messages, kept so that none is missed."""

import time
from dataclasses import dataclass
from typing import Final

from textual.content import Content
from textual.notifications import SeverityLevel

from mg_tui.core.text import printable
from mg_tui.tui.screens.modal import TextModal
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, hanging_indent, line

MAX_MESSAGES: Final = 200
_SEVERITY_SIGNS: Final = {"information": ("·", "key"), "warning": ("⚠", "eval"), "error": ("✗", "failed")}


@dataclass(frozen=True, slots=True)
class LoggedMessage:
    """A message: when (Unix time in seconds), how grave, its title and its text."""

    time: float
    severity: SeverityLevel
    title: str
    text: str


class MessageList(Lines):
    """Messages, newest first."""

    def __init__(self, said: tuple[LoggedMessage, ...]) -> None:
        super().__init__()
        self._messages = said

    def lines(self, width: int) -> list[Content]:
        lines: list[Content] = []
        for notice in reversed(self._messages):
            sign, colour = _SEVERITY_SIGNS[notice.severity]
            clock = time.strftime("%H:%M:%S", time.localtime(notice.time))
            head = line((clock, tone("dim")), " ", (sign, tone(colour, "bold")))
            title = f"{printable(notice.title)}\n" if notice.title else ""
            lines += hanging_indent(head, line((title, "bold"), printable(notice.text)), 11, width)
        return lines or [Content.styled("Nothing was said yet.", tone("dim"))]


class MessagesScreen(TextModal):
    """The messages, to scroll through."""

    heading = "Messages"

    def __init__(self, said: tuple[LoggedMessage, ...]) -> None:
        super().__init__()
        self._messages = said

    def create_body(self) -> MessageList:
        return MessageList(self._messages)

"""The log of passing messages."""

import time
from typing import Final

from textual.content import Content

from mg_tui.core.text import printable
from mg_tui.tui.messages import LoggedMessage
from mg_tui.tui.screens.modal import TextModal
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, hanging_indent, line

_SEVERITY_SIGNS: Final = {"information": ("·", "key"), "warning": ("⚠", "eval"), "error": ("✗", "failed")}


class MessageList(Lines):
    """Messages, newest first."""

    def __init__(self, messages: tuple[LoggedMessage, ...]) -> None:
        super().__init__()
        self._messages = messages

    def lines(self, width: int) -> list[Content]:
        lines: list[Content] = []
        for message in reversed(self._messages):
            sign, color = _SEVERITY_SIGNS[message.severity]
            clock = time.strftime("%H:%M:%S", time.localtime(message.time))
            head = line((clock, tone("dim")), " ", (sign, tone(color, "bold")))
            title = f"{printable(message.title)}\n" if message.title else ""
            lines += hanging_indent(head, line((title, "bold"), printable(message.text)), 11, width)
        return lines or [Content.styled("No messages yet.", tone("dim"))]


class MessagesScreen(TextModal):
    """The messages, to scroll through."""

    heading = "Messages"

    def __init__(self, messages: tuple[LoggedMessage, ...]) -> None:
        super().__init__()
        self._messages = messages

    def create_body(self) -> MessageList:
        return MessageList(self._messages)

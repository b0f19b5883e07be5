"""The bases of screens over the screen: of every dialog, and of texts that scroll (help, messages, plain texts)."""

from collections.abc import Awaitable
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget

from mg_tui.core.text import one_line
from mg_tui.tui.actions import bindings
from mg_tui.tui.screens.base import DismissOnce

R = TypeVar("R")


class Dialog(DismissOnce[R], ModalScreen[R]):
    """A screen over the screen that returns a result, once."""


class ScrollActions:
    """The actions of the scope `log`, for a screen with a `_scroll_target`."""

    @property
    def _scroll_target(self) -> VerticalScroll:
        raise NotImplementedError

    def action_scroll_down(self) -> None:
        self._scroll_target.scroll_down(animate=False)

    def action_scroll_up(self) -> None:
        self._scroll_target.scroll_up(animate=False)

    def action_scroll_home(self) -> None:
        self._scroll_target.scroll_home(animate=False)

    def action_scroll_end(self) -> None:
        self._scroll_target.scroll_end(animate=False)

    def action_page_down(self) -> None:
        self._scroll_target.scroll_page_down(animate=False)

    def action_page_up(self) -> None:
        self._scroll_target.scroll_page_up(animate=False)


class TextModal(ScrollActions, Dialog[None]):
    """Subclasses define `heading` and `create_body`, and may add bindings and a `hint` at the lower border."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("help", "log")]
    AUTO_FOCUS = "#text"
    heading = ""
    hint = "esc closes"

    def create_body(self) -> Widget:
        """The content, as tall as it has lines."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="text") as text:
            text.border_title = Content(one_line(self.heading, limit=200))
            text.border_subtitle = self.hint
            yield self.create_body()

    def action_close(self) -> Awaitable[None] | None:
        self.dismiss(None)
        return None

    @property
    def _scroll_target(self) -> VerticalScroll:
        return self.query_one("#text", VerticalScroll)

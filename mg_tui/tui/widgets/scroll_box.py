"""A box that scrolls by the keys of texts."""

from typing import ClassVar

from textual.binding import BindingType
from textual.containers import VerticalScroll

from mg_tui.tui.actions import bindings


class ScrollBox(VerticalScroll):
    """A scrolling box with the actions of the scope `log`."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("log")]
    DEFAULT_CSS = """
    ScrollBox { scrollbar-size-vertical: 1; }
    """

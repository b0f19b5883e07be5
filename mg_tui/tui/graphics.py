"""Images by the terminal's own graphics (kitty, sixel), when the user asks for it and the optional extra is there.

textual-image asks the terminal questions when it is imported and fails to import where the terminal has no size, so
`select_graphics` imports it before the application starts, and whatever it says is no more than a reason to draw half cells.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from PIL.Image import Image
    from textual.widget import Widget

_WIDGETS: Final = {"kitty": "TGPImage", "sixel": "SixelImage"}


@dataclass(frozen=True, slots=True)
class TerminalGraphics:
    """What draws large images: the class of the widget, or None for half cells and, where asked for more, why."""

    widget_class: Any = None
    why: str | None = None

    def create_widget(self, image: "Image") -> "Widget":
        """A widget that shows `image`; only where there is a class."""
        made: Widget = self.widget_class(image)
        return made


HALF_CELLS: Final = TerminalGraphics()


def select_graphics(wanted: str) -> TerminalGraphics:
    """What draws images when the setting is `wanted` ("half-cell", "kitty", "sixel"). Never raises."""
    if wanted not in _WIDGETS:
        return HALF_CELLS
    try:
        module = import_module("textual_image.widget")
        return TerminalGraphics(getattr(module, _WIDGETS[wanted]))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual_image":
            return TerminalGraphics(why=f"textual-image cannot be used: {error}")
        return TerminalGraphics(why="the extra is not installed: uv pip install 'model-garden-tui[graphics]'")
    except Exception as error:  # it asks the terminal, which may be none
        return TerminalGraphics(why=f"textual-image cannot be used here: {type(error).__name__}: {error}")

"""Images by the terminal's own graphics (kitty, sixel), when the settings say so and the extra is installed.

textual-image queries the terminal when it is imported, and its import fails in a terminal without a size. So
`select_graphics` imports it before the application starts, and any error is only a reason to draw half cells.
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
    """How large images are drawn: by a widget class; None is half cells, with the reason if graphics were requested."""

    widget_class: Any = None
    why: str | None = None

    def create_widget(self, image: "Image") -> "Widget":
        """A widget that shows `image`. Requires a widget class."""
        widget: Widget = self.widget_class(image)
        return widget


HALF_CELLS: Final = TerminalGraphics()


def select_graphics(setting: str) -> TerminalGraphics:
    """The graphics for a value of the setting ("half-cell", "kitty", "sixel"). Never raises."""
    if setting not in _WIDGETS:
        return HALF_CELLS
    try:
        module = import_module("textual_image.widget")
        return TerminalGraphics(getattr(module, _WIDGETS[setting]))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual_image":
            return TerminalGraphics(why=f"textual-image cannot be used: {error}")
        return TerminalGraphics(why="the extra is not installed: uv pip install 'model-garden-tui[graphics]'")
    except Exception as error:  # it queries the terminal, which may not answer
        return TerminalGraphics(why=f"textual-image cannot be used here: {type(error).__name__}: {error}")

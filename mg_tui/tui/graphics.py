"""Pictures by the terminal's own graphics (kitty, sixel), when the user asks for it and the optional extra is there.

textual-image asks the terminal questions when it is imported and fails to import where the terminal has no size, so
`prepare` imports it before the application starts, and whatever it says is no more than a reason to draw half cells.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from PIL.Image import Image
    from textual.widget import Widget

_WIDGETS: Final = {"kitty": "TGPImage", "sixel": "SixelImage"}


@dataclass(frozen=True, slots=True)
class Graphics:
    """What draws large pictures: the class of the widget, or None for half cells and, where asked for more, why."""

    widget: Any = None
    why: str | None = None

    def make(self, image: "Image") -> "Widget":
        """A widget that shows `image`; only where there is a class."""
        made: Widget = self.widget(image)
        return made


HALF_CELLS: Final = Graphics()


def prepare(wanted: str) -> Graphics:
    """What draws pictures when the setting is `wanted` ("half-cell", "kitty", "sixel"). Never raises."""
    if wanted not in _WIDGETS:
        return HALF_CELLS
    try:
        module = import_module("textual_image.widget")
        return Graphics(getattr(module, _WIDGETS[wanted]))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual_image":
            return Graphics(why=f"textual-image cannot be used: {error}")
        return Graphics(why="the extra is not installed: uv pip install 'model-garden-tui[graphics]'")
    except Exception as error:  # it asks the terminal, which may be none
        return Graphics(why=f"textual-image cannot be used here: {type(error).__name__}: {error}")

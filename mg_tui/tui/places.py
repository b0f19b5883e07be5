"""The places of the dashboard: one digit, one mode with its own stack of screens. A place that does not exist yet has
no tab."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from textual.screen import Screen


@dataclass(frozen=True, slots=True)
class Place:
    """A tab: its digit, the mode it is, its title, the screen that is imported when it is first shown, and what the
    help says that its key goes to."""

    key: str
    mode: str
    title: str
    module: str
    screen_class: str
    description: str

    def create_screen(self) -> "Screen[Any]":
        """The place's first screen."""
        made: Screen[Any] = getattr(import_module(self.module), self.screen_class)()
        return made


PLACES: Final = (
    Place("1", "runs", "Runs", "mg_tui.tui.screens.runs", "RunsScreen", "the list of runs"),
    Place("2", "datasets", "Datasets", "mg_tui.tui.screens.datasets", "DatasetsScreen", "the datasets"),
    Place("3", "new", "New run", "mg_tui.tui.screens.new", "NewRunScreen", "the form of a new run"),
    Place("4", "models", "Models", "mg_tui.tui.screens.models", "ModelsScreen", "results and base models"),
    Place("5", "plugins", "Plugins", "mg_tui.tui.screens.plugins", "PluginsScreen", "the model families"),
)

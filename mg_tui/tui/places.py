"""The places of the dashboard: one digit, one mode with its own stack of screens."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Place:
    """A tab: its digit, its mode in Textual, its title, and how the help describes it ("Go to ...")."""

    key: str
    mode: str
    title: str
    description: str


PLACES: Final = (
    Place("1", "runs", "Runs", "the list of runs"),
    Place("2", "datasets", "Datasets", "the datasets"),
    Place("3", "new", "New run", "the new run form"),
    Place("4", "models", "Models", "results and base models"),
    Place("5", "plugins", "Plugins", "the plugins of model families and metrics"),
)

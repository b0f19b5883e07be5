"""The places of the dashboard: one digit, one mode with its own stack of screens."""

from dataclasses import dataclass
from typing import Final

# Why something does not work on the runs of a server.
FORM_IS_LOCAL: Final = "the form checks models and data of this machine; `train-vision` and `runs rerun` work."
MODELS_ARE_LOCAL: Final = "models are loaded on this machine, and these files are on the server."
FILES_ARE_LOCAL: Final = "the images are on the server."


@dataclass(frozen=True, slots=True)
class Place:
    """A tab: its digit, its mode in Textual, its title, and how the help describes it ("Go to ...")."""

    key: str
    mode: str
    title: str
    description: str
    local_only: str = ""  # why there is none for the runs of a server


PLACES: Final = (
    Place("1", "runs", "Runs", "the list of runs"),
    Place(
        "2",
        "datasets",
        "Datasets",
        "the datasets",
        "datasets are on the server; `datasets show` and `datasets check` work.",
    ),
    Place(
        "3",
        "new",
        "New run",
        "the new run form",
        FORM_IS_LOCAL,
    ),
    Place(
        "4",
        "models",
        "Models",
        "results and base models",
        MODELS_ARE_LOCAL,
    ),
    Place(
        "5",
        "plugins",
        "Plugins",
        "the plugins of model families and metrics",
        "they are those of this machine; start the dashboard without --server.",
    ),
)

"""`model-garden datasets`: everything about the rows a run learns from, before it learns from them."""

from collections.abc import Mapping
from typing import Final

import click

from mg_tui.cli.main import LazyCommand, LazyGroup

COMMANDS: Final[dict[str, LazyCommand]] = {
    "show": LazyCommand("mg_tui.cli.datasets.show", "show", "Show rows, as they are or as the model sees them."),
    "check": LazyCommand("mg_tui.cli.datasets.check", "check", "Look at every row and image, and say what is wrong."),
    "convert": LazyCommand("mg_tui.cli.datasets.convert", "convert", "Write a dataset in another format or layout."),
    "split": LazyCommand(
        "mg_tui.cli.datasets.subset", "split", "Part rows for evaluation off; no image is on both sides."
    ),
    "sample": LazyCommand("mg_tui.cli.datasets.subset", "sample", "Draw some rows at random."),
    "concat": LazyCommand("mg_tui.cli.datasets.subset", "concat", "Put several datasets into one, each with a weight."),
    "create": LazyCommand(
        "mg_tui.cli.datasets.create", "create", "Start a dataset: drawn samples, or your own images."
    ),
    "list": LazyCommand("mg_tui.cli.datasets.create", "list_datasets", "List datasets that were opened before."),
}


class DatasetsGroup(LazyGroup):
    """The group's commands, imported when they are called."""

    lazy_commands: Mapping[str, LazyCommand] = COMMANDS


@click.group("datasets", cls=DatasetsGroup)
def datasets() -> None:
    """Look at datasets, check and repair them, split, draw from and mix them.

    A dataset is a file, a folder or a name on the hub, in any of the formats that docs/datasets.md lists.
    """

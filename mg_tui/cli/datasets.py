"""`model-garden datasets`: everything about the rows a run learns from, before it learns from them."""

from collections.abc import Mapping
from typing import Final

import click

from mg_tui.cli.main import Entry, LazyGroup

COMMANDS: Final[dict[str, Entry]] = {
    "show": Entry("mg_tui.cli.datasets_show", "show", "Show rows, as they are or as the model sees them."),
    "check": Entry("mg_tui.cli.datasets_check", "check", "Look at every row and picture, and say what is wrong."),
    "convert": Entry("mg_tui.cli.datasets_convert", "convert", "Write a dataset in another format or layout."),
    "split": Entry("mg_tui.cli.datasets_make", "split", "Part rows for evaluation off; no picture is on both sides."),
    "sample": Entry("mg_tui.cli.datasets_make", "sample", "Draw some rows at random."),
    "concat": Entry("mg_tui.cli.datasets_make", "concat", "Put several datasets into one, each with a weight."),
    "create": Entry("mg_tui.cli.datasets_create", "create", "Start a dataset: drawn samples, or your own pictures."),
    "list": Entry("mg_tui.cli.datasets_create", "list_datasets", "List datasets that were opened before."),
}


class DatasetsGroup(LazyGroup):
    """The group's commands, imported when they are called."""

    table: Mapping[str, Entry] = COMMANDS


@click.group("datasets", cls=DatasetsGroup)
def datasets() -> None:
    """Look at datasets, check and repair them, split, draw from and mix them.

    A dataset is a file, a folder or a name on the hub, in any of the formats that docs/datasets.md lists.
    """

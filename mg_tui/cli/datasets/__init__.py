"""`model-garden datasets`: show, check, repair, convert, split, sample and combine datasets."""

from typing import Final

import click

from mg_tui.cli.lazy import LazyCommand, LazyGroup
from mg_tui.cli.server import require_for_server

COMMANDS: Final[dict[str, LazyCommand]] = {
    "show": LazyCommand("mg_tui.cli.datasets.show", "show", "Show rows, raw or as the model sees them."),
    "check": LazyCommand("mg_tui.cli.datasets.check", "check", "Check every row and image, and report problems."),
    "convert": LazyCommand("mg_tui.cli.datasets.convert", "convert", "Write a dataset in another format or layout."),
    "split": LazyCommand("mg_tui.cli.datasets.subset", "split", "Split off an evaluation set without shared images."),
    "sample": LazyCommand("mg_tui.cli.datasets.subset", "sample", "Sample rows at random."),
    "concat": LazyCommand("mg_tui.cli.datasets.subset", "concat", "Concatenate datasets, each with a weight."),
    "create": LazyCommand(
        "mg_tui.cli.datasets.create", "create", "Create a dataset: synthetic, or from an image folder."
    ),
    "list": LazyCommand("mg_tui.cli.datasets.create", "list_datasets", "List named and recently opened datasets."),
}


@click.group("datasets", cls=LazyGroup, lazy_commands=COMMANDS)
@click.pass_context
def datasets(ctx: click.Context) -> None:
    """Show, check, repair, convert, split, sample and combine datasets.

    A dataset is a file, a folder or a Hub name, in any format listed in docs/datasets.md.
    """
    require_for_server(ctx.obj, ctx)

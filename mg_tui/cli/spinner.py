"""A sign of life on standard error while an engine program loads."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def spinner(what: str) -> Iterator[Callable[[str], None]]:
    """Show that `what` is going on, with a spinner and the time on a terminal; gives a function that says something."""
    from mg_tui.core.text import one_line

    if not sys.stderr.isatty():
        yield lambda text: click.echo(one_line(text), err=True)
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(one_line(what), total=None)
        yield lambda text: console.print(Text(one_line(text)))

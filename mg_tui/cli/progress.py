"""Progress on standard error: a bar where the total is known, a spinner where it is not. Silent outside a terminal."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mg_tui.data.progress import Progress
    from mg_tui.runs.engine_process import EngineProcess


@contextmanager
def progress_bar(label: str) -> Iterator["Progress"]:
    """Yield a callback for (done, total) that draws a bar with the time left; a total of 0 means unknown."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


@contextmanager
def spinner(label: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner with the elapsed time; yields a function that prints a notice, on a terminal or elsewhere."""
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
        progress.add_task(one_line(label), total=None)
        yield lambda text: console.print(Text(one_line(text)))


def request_with_spinner(
    child: "EngineProcess",
    label: str,
    operation: str,
    *,
    on_event: Callable[[Mapping[str, Any], Callable[[str], None]], None] | None = None,
    **request: Any,
) -> dict[str, Any]:
    """Send one request to an engine process, with its notices beside a spinner; returns the fields of the last event.

    Args:
        on_event: called with every other event, and a function that prints a notice.
    """
    record: dict[str, Any] = {}
    with spinner(label) as notify:
        for event in child.stream(operation, **request):
            record = event
            if event["event"] == "notice":
                notify(event["text"])
            elif on_event is not None:
                on_event(event, notify)
    return {name: value for name, value in record.items() if name != "event"}

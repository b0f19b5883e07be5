"""What the run commands share: their options, JSON output, and the hint on interrupted runs."""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.completion import complete_run
from mg_tui.core.program import runnable
from mg_tui.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mg_tui.runs.folder import RunFolder
    from mg_tui.runs.store import RunSummary

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
RUN_ARGUMENT = click.argument("run", metavar="ID", shell_complete=complete_run)
RUNS_ARGUMENT = click.argument("run", metavar="ID...", nargs=-1, required=True, shell_complete=complete_run)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output; NaN becomes a string."""
    from mg_tui.core.events import json_safe

    click.echo(json.dumps(json_safe(value), ensure_ascii=False, indent=2, allow_nan=False))


def print_log_line(line: str) -> None:
    """Print a line of a worker's log; on a terminal without what a terminal would obey."""
    from mg_tui.runs.worker_log import strip_terminal_codes

    click.echo(printable(strip_terminal_codes(line)) if sys.stdout.isatty() else line)


def stop_all(folders: "Iterable[RunFolder]", *, as_json: bool) -> None:
    """Ask detached work to stop, each once, and print what was seen of it."""
    from mg_tui.runs import control, operations

    receipts = [operations.request_stop(folder, control.requester("cli")) for folder in dict.fromkeys(folders)]
    if as_json:
        print_json([{"id": each.folder.id, "request": each.request, "seen": each.acknowledged} for each in receipts])
        return
    for receipt in receipts:
        said = "acknowledged" if receipt.acknowledged else "requested; not acknowledged yet"
        click.echo(f"stop {printable(receipt.folder.id)}: {said}", err=True)


def print_resume_hint(summaries: "Sequence[RunSummary]") -> None:
    """Print how to resume the interrupted ones of these runs, on standard error."""
    from mg_tui.runs.state import RunState

    ids = [printable(run.id) for run in summaries if run.state is RunState.INTERRUPTED]
    if ids:
        click.echo(
            runnable(
                f"{len(ids)} interrupted by a restart; resume with `model-garden runs resume {ids[0]}`, or resume all "
                "with `model-garden runs wake --resume`"
            ),
            err=True,
        )

"""`model-garden runs list`, `show` and `logs`."""

import sys
import time

import click

from mg_tui.cli.runs.common import JSON_OPTION, RUN_ARGUMENT, print_json, print_resume_hint
from mg_tui.cli.tables import terminal_width
from mg_tui.config import Settings
from mg_tui.core.program import runnable
from mg_tui.core.text import printable


@click.command("list")
@JSON_OPTION
@click.pass_obj
def list_(settings: Settings, as_json: bool) -> None:
    """List all runs, newest first."""
    from mg_tui.cli.runs.summary import format_table
    from mg_tui.runs.store import list_runs

    summaries, now = list_runs(settings.home), time.time()
    if as_json:
        print_json([run.as_dict(now, settings.cost) for run in summaries])
        return
    if not summaries:
        click.echo(
            runnable("No runs yet; start one with `model-garden train-vision` or `model-garden demo`."), err=True
        )
        return
    for line in format_table(summaries, now, width=terminal_width()):
        click.echo(line)
    print_resume_hint(summaries)


@click.command("show")
@RUN_ARGUMENT
@JSON_OPTION
@click.pass_obj
def show(settings: Settings, run: str, as_json: bool) -> None:
    """Show a run: options, progress, outcome."""
    from mg_tui.cli.runs.summary import format_page, run_record
    from mg_tui.runs.store import find_run, summarize_run

    summary, now = summarize_run(find_run(settings.home, run)), time.time()
    if as_json:
        print_json(run_record(summary, now, settings.cost))
        return
    for line in format_page(summary, now, settings.cost):
        click.echo(line)


@click.command()
@RUN_ARGUMENT
@click.option("-f", "--follow", is_flag=True, help="Follow the log until the run ends.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="Number of lines to show first."
)
@click.pass_obj
def logs(settings: Settings, run: str, follow: bool, lines: int) -> None:
    """Show the worker's log."""
    from mg_tui.runs.store import find_run
    from mg_tui.runs.watch import RunWatch
    from mg_tui.runs.worker_log import LogReader

    folder = find_run(settings.home, run)
    reader, watch = LogReader(folder.log_file), RunWatch(folder)
    for line in reader.last(lines):
        _print_log_line(line)
    while follow:
        watch.refresh()
        ended = watch.state.ended  # before reading, so that the last lines are read too
        for line in reader.new():
            _print_log_line(line)
        if ended:
            return
        time.sleep(0.3)


def _print_log_line(line: str) -> None:
    from mg_tui.runs.worker_log import strip_terminal_codes

    click.echo(printable(strip_terminal_codes(line)) if sys.stdout.isatty() else line)

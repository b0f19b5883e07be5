"""`model-garden runs list`, `show` and `logs`."""

import time

import click

from mg_tui.cli.runs.common import JSON_OPTION, RUN_ARGUMENT, print_json, print_log_line, print_resume_hint
from mg_tui.cli.tables import terminal_width
from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.program import runnable
from mg_tui.core.run_columns import RUN_COLUMN_KEYS
from mg_tui.core.text import did_you_mean, printable

TEXT_COLUMNS = tuple(key for key in RUN_COLUMN_KEYS if key != "curve")


@click.command("list")
@click.option("--filter", "words", metavar="WORDS", help="Only runs with these words; #TAG; -WORD for runs without it.")
@click.option("--saved", metavar="NAME", help="Only runs that a filter of [filters] matches.")
@click.option("--columns", metavar="NAME,...", help=f"Columns: {', '.join(TEXT_COLUMNS)}.")
@JSON_OPTION
@click.pass_obj
def list_(
    settings: Settings,
    as_json: bool,
    words: str | None = None,
    saved: str | None = None,
    columns: str | None = None,
) -> None:
    """List all runs, newest first, or those that a filter matches."""
    from mg_tui.cli.runs.summary import format_table
    from mg_tui.runs.store import list_runs

    chosen = _parse_columns(columns)
    queries = [query for query in (words, _saved_filter(settings, saved)) if query]
    summaries, now = list_runs(settings.home), time.time()
    if queries:
        listed = [run for run in summaries if all(run.matches(query) for query in queries)]
        if summaries and not listed and not as_json:
            click.echo(f"No run matches {printable(' '.join(queries))}.", err=True)
            return
        summaries = listed
    if as_json:
        print_json([run.as_dict(now, settings.cost) for run in summaries])
        return
    if not summaries:
        click.echo(
            runnable("No runs yet; start one with `model-garden train-vision` or `model-garden demo`."), err=True
        )
        return
    for line in format_table(summaries, now, width=terminal_width(), columns=chosen, prices=settings.cost):
        click.echo(line)
    print_resume_hint(summaries)


def _parse_columns(text: str | None) -> tuple[str, ...]:
    keys = tuple(filter(None, (key.strip() for key in (text or "").split(","))))
    for key in keys:
        if key not in TEXT_COLUMNS:
            raise UsageError(
                f"There is no column {key!r}{did_you_mean(key, TEXT_COLUMNS)}",
                hint="columns are " + ", ".join(TEXT_COLUMNS),
            )
    return keys


def _saved_filter(settings: Settings, name: str | None) -> str | None:
    if name is None:
        return None
    if name not in settings.filters:
        known = ", ".join(settings.filters) or "none; F in the dashboard saves one"
        raise UsageError(f"There is no saved filter {name!r}.", hint=f"saved filters: {known}")
    return settings.filters[name]


@click.command("show")
@RUN_ARGUMENT
@JSON_OPTION
@click.pass_obj
def show(settings: Settings, run: str, as_json: bool) -> None:
    """Show a run: options, progress, outcome."""
    from mg_tui.cli.runs.summary import format_page
    from mg_tui.runs.run_records import run_record
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
    from mg_tui.runs.elsewhere import wait_for_log, want_log
    from mg_tui.runs.store import find_run
    from mg_tui.runs.watch import RunWatch
    from mg_tui.runs.worker_log import LogReader

    folder = find_run(settings.home, run)
    wait_for_log(folder)
    reader, watch = LogReader(folder.log_file), RunWatch(folder)
    for line in reader.last(lines):
        print_log_line(line)
    while follow:
        want_log(folder)
        watch.refresh()
        ended = watch.state.ended  # before reading, so that the last lines are read too
        for line in reader.new():
            print_log_line(line)
        if ended:
            return
        time.sleep(0.3)

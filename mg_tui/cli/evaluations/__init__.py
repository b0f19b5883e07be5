"""`model-garden evaluations`: the evaluations of this home, as `runs` has the runs."""

import time
from pathlib import Path
from typing import cast

import click

from mg_tui.cli.runs.common import print_json, print_log_line
from mg_tui.cli.server import refuse_with_server, require_for_server, server_of
from mg_tui.config import Settings
from mg_tui.core.program import runnable
from mg_tui.core.text import printable

_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_OF_A_SERVER = ("list", "show", "logs", "stop")  # work with --server
_ID_ARGUMENT = click.argument("evaluation", metavar="ID")


@click.group(invoke_without_command=True)
@_JSON_OPTION
@click.pass_context
def evaluations(ctx: click.Context, as_json: bool) -> None:
    """List, show, follow, stop, resume and delete evaluations.

    ID is an evaluation's id, a unique prefix or suffix of it, a path, or "last". Without a command, lists all.
    """
    require_for_server(ctx.obj, ctx, only=_OF_A_SERVER)
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, as_json=as_json)


@evaluations.command("list")
@_JSON_OPTION
@click.pass_obj
def list_(settings: Settings, as_json: bool) -> None:
    """List all evaluations, newest first."""
    from mg_tui.cli.evaluations.summary import format_table
    from mg_tui.cli.tables import terminal_width
    from mg_tui.runs.evaluations import EvaluationFolder
    from mg_tui.runs.run_records import summary_record
    from mg_tui.runs.store import list_runs

    if (garden := server_of(settings)) is not None:
        from mg_tui.cli.server_evaluations import format_list, list_there

        records = list_there(garden)
        if as_json:
            print_json(records)
        elif not records:
            click.echo("No evaluations on the server yet.", err=True)
        else:
            click.echo("\n".join(format_list(garden, records, width=terminal_width())))
        return
    evaluations, now = list_runs(settings.home, EvaluationFolder), time.time()
    if as_json:
        print_json([summary_record(evaluation, now) for evaluation in evaluations])
        return
    if not evaluations:
        click.echo(runnable("No evaluations yet; start one with `model-garden evaluate-vision`."), err=True)
        return
    for line in format_table(evaluations, now, width=terminal_width()):
        click.echo(line)


@evaluations.command()
@_ID_ARGUMENT
@click.option("--report", type=click.Path(dir_okay=False), help="Write a self-contained HTML report to this file.")
@_JSON_OPTION
@click.pass_obj
def show(settings: Settings, evaluation: str, report: str | None, as_json: bool) -> None:
    """Show an evaluation: options, scores with intervals, changes, groups, speed."""
    from mg_tui.cli.evaluations.summary import format_page
    from mg_tui.runs.evaluations import EvaluationFolder
    from mg_tui.runs.run_records import evaluation_record
    from mg_tui.runs.store import find_run, summarize_run

    if (garden := server_of(settings)) is not None:
        from mg_tui.cli.server_evaluations import format_shown, show_there

        if report is not None:
            raise refuse_with_server("--report", "it is made of the answered rows, which are there")
        record = show_there(garden, evaluation)
        print_json(record) if as_json else click.echo("\n".join(format_shown(garden, record)))
        return
    folder = find_run(settings.home, evaluation, EvaluationFolder)
    if report is not None:
        from mg_tui.preflight.evaluation_outputs import write_evaluation_report

        write_evaluation_report(folder, Path(report))
        click.echo(f"report: {printable(report)}", err=True)
    summary, now = summarize_run(folder), time.time()
    if as_json:
        print_json(evaluation_record(summary, now))
        return
    for line in format_page(summary, now):
        click.echo(line)


@evaluations.command()
@_ID_ARGUMENT
@click.option("-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="Number of lines.")
@click.pass_obj
def logs(settings: Settings, evaluation: str, lines: int) -> None:
    """Show the worker's log."""
    from mg_tui.runs.evaluations import EvaluationFolder
    from mg_tui.runs.store import find_run
    from mg_tui.runs.worker_log import read_tail

    if (garden := server_of(settings)) is not None:
        from mg_tui.cli.server_evaluations import logs_there

        for line in logs_there(garden, evaluation, lines):
            print_log_line(line)
        return
    for line in read_tail(find_run(settings.home, evaluation, EvaluationFolder).log_file, lines):
        print_log_line(line)


@evaluations.command()
@_ID_ARGUMENT
@click.pass_context
def watch(ctx: click.Context, evaluation: str) -> None:
    """Follow an evaluation until it ends. Ctrl+c asks whether to stop it or detach."""
    from mg_tui.cli.evaluations.display import EvaluationStyle
    from mg_tui.cli.follow import exit_code_of, follow_run
    from mg_tui.runs.evaluations import EvaluationFolder
    from mg_tui.runs.store import find_run

    folder = find_run(ctx.obj.home, evaluation, EvaluationFolder)
    ctx.exit(exit_code_of(follow_run(folder, EvaluationStyle()), folder))


@evaluations.command()
@_ID_ARGUMENT
@_JSON_OPTION
@click.pass_obj
def stop(settings: Settings, evaluation: str, as_json: bool) -> None:
    """Stop an evaluation. Its answers are kept, and it can be resumed."""
    from mg_tui.runs import control, operations
    from mg_tui.runs.evaluations import EvaluationFolder
    from mg_tui.runs.store import find_run

    if (garden := server_of(settings)) is not None:
        from mg_tui.cli.server_evaluations import stop_there

        record = stop_there(garden, evaluation)
    else:
        folder = find_run(settings.home, evaluation, EvaluationFolder)
        receipt = operations.request_stop(folder, control.requester("cli"))
        record = {"id": folder.id, "request": receipt.request, "seen": receipt.acknowledged}
    if as_json:
        print_json(record)
    else:
        click.echo("stop: acknowledged" if record["seen"] else "stop: requested; not acknowledged yet", err=True)


@evaluations.command()
@_ID_ARGUMENT
@click.option("--gpus", metavar="0,1|any|cpu", help="GPUs by nvidia-smi index. [default: as before]")
@click.option("--detach", is_flag=True, help="Resume in the background and print the id.")
@_JSON_OPTION
@click.pass_context
def resume(ctx: click.Context, evaluation: str, gpus: str | None, detach: bool, as_json: bool) -> None:
    """Resume a stopped, interrupted, failed or crashed evaluation. Rows that have an answer are not answered again."""
    from mg_tui.cli.evaluations.start import follow_to_end
    from mg_tui.cli.launch import parse_gpus
    from mg_tui.runs.evaluations import EvaluationFolder, resume_evaluation
    from mg_tui.runs.store import find_run

    folder = find_run(ctx.obj.home, evaluation, EvaluationFolder)
    attempts = resume_evaluation(folder, parse_gpus(gpus))
    ctx.exit(follow_to_end(folder, detach=detach, as_json=as_json, attempts=attempts))


@evaluations.command()
@click.argument("evaluation", metavar="ID...", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Skip the confirmation.")
@click.pass_obj
def rm(settings: Settings, evaluation: tuple[str, ...], yes: bool) -> None:
    """Delete evaluations with their answers. Running ones cannot be deleted."""
    from mg_tui.cli.runs.trash import delete_folders
    from mg_tui.runs.evaluations import EvaluationFolder

    delete_folders(settings, evaluation, EvaluationFolder, yes=yes)


@evaluations.command("write-rows")
@_ID_ARGUMENT
@click.option("--rows", help="Numbers of rows, separated by commas.")
@click.option(
    "--only", type=click.Choice(["wrong", "broken", "fixed", "errors"]), help="All rows of a kind, by the first metric."
)
@click.option("--output", "-o", required=True, type=click.Path(dir_okay=False), help="New JSON Lines file.")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@_JSON_OPTION
@click.pass_obj
def write_rows_(
    settings: Settings, evaluation: str, rows: str | None, only: str | None, output: str, force: bool, as_json: bool
) -> None:
    """Write rows of an evaluation to a new dataset, such as those the model got wrong.

    Rows are read again from the evaluation's dataset and keep all their columns.
    """
    from mg_tui.core.errors import UsageError
    from mg_tui.preflight.evaluation_outputs import RowKind, find_questions, write_rows
    from mg_tui.runs.evaluations import EvaluationFolder
    from mg_tui.runs.store import find_run

    if (rows is None) == (only is None):
        raise UsageError("name either --rows or --only", hint="e.g. --only wrong")
    try:
        numbers = [int(number) for number in (rows or "").split(",") if number.strip()]
    except ValueError:
        raise UsageError(f"--rows takes numbers separated by commas, and not {rows!r}") from None
    folder = find_run(settings.home, evaluation, EvaluationFolder)
    questions = find_questions(folder, numbers=numbers, only=cast("RowKind | None", only))
    if not questions:
        raise UsageError("no row is to be written", why=f"the evaluation has none that is {only}" if only else None)
    written = write_rows(folder, questions, Path(output), cache=settings.cache, force=force)
    if as_json:
        print_json({"path": str(written.dataset.path), "rows": written.dataset.rows, "read_with": list(written.flags)})
        return
    click.echo(f"{written.dataset.rows} rows: {printable(str(written.dataset.path))}", err=True)
    if written.flags:
        click.echo(f"read it with {printable(' '.join(written.flags))}", err=True)

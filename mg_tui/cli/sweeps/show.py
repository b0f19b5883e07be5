"""`model-garden sweep show` and the list of sweeps: one table, one chart, and which run is the best."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mg_tui.cli.runs.common import JSON_OPTION, print_json
from mg_tui.cli.sweeps.common import NAME_ARGUMENT
from mg_tui.cli.tables import format_table, terminal_width
from mg_tui.config import Settings
from mg_tui.core.program import runnable
from mg_tui.core.text import one_line, printable

if TYPE_CHECKING:
    from mg_tui.runs.sweeps.folder import SweepFolder
    from mg_tui.runs.sweeps.standing import Standing, SweepWatch

_CHART_RUNS = 12  # curves in the chart: the best ones


@click.command("list")
@JSON_OPTION
@click.pass_obj
def list_(settings: Settings, as_json: bool) -> None:
    """List all sweeps by name."""
    from mg_tui.runs.sweeps.folder import list_sweeps
    from mg_tui.runs.sweeps.standing import SweepWatch, has_driver, sweep_record

    watches = [SweepWatch(folder) for folder in list_sweeps(settings.home)]
    for watch in watches:
        watch.refresh()
    if as_json:
        print_json([sweep_record(watch, driver_runs=has_driver(watch.folder)) for watch in watches])
        return
    if not watches:
        click.echo(runnable("No sweeps; start one with `model-garden sweep DATASET --over OPTION=V,V`."), err=True)
        return
    rows = [_list_row(watch) for watch in watches]
    for line in format_table(("name", "runs", "state", "best", "over"), rows, width=terminal_width(), right=("runs",)):
        click.echo(line)


@click.command()
@NAME_ARGUMENT
@JSON_OPTION
@click.pass_obj
def show(settings: Settings, name: str, as_json: bool) -> None:
    """Show a sweep: a table of its runs, the best first, a chart of their scores, and which one is the best."""
    from mg_tui.runs.sweeps.folder import find_sweep
    from mg_tui.runs.sweeps.standing import SweepWatch, has_driver, sweep_record

    folder = find_sweep(settings.home, name)
    if not as_json:
        print_sweep(folder)
        return
    from mg_tui.preflight.sweeps import describe_best

    watch = SweepWatch(folder)
    watch.refresh()
    print_json({**sweep_record(watch, driver_runs=has_driver(folder)), "verdict": describe_best(watch)})


def print_sweep(folder: "SweepFolder") -> None:
    """Print table, chart and verdict on standard output."""
    from mg_tui.preflight.sweeps import describe_best
    from mg_tui.runs.sweeps.standing import SweepWatch

    watch = SweepWatch(folder)
    watch.refresh()
    click.echo(printable(f"sweep {watch.sweep.name}: {_describe_progress(watch)}"))
    click.echo()
    for line in format_sweep(watch, width=terminal_width()):
        click.echo(line)
    if lines := format_chart(watch, width=terminal_width() or 80):
        click.echo()
        for line in lines:
            click.echo(line)
    click.echo()
    for sentence in describe_best(watch):
        click.echo(one_line(sentence))


def format_sweep(watch: "SweepWatch", *, width: int | None) -> list[str]:
    """The table of the runs: those with a rank first."""
    names = list(watch.sweep.over)
    ranked = watch.ranked()
    others = [standing for standing in watch.standings if standing not in ranked]
    rows = [_run_row(watch, standing, names, ranked) for standing in (*ranked, *others)]
    headings = ("rank", "run", *names, watch.metric, "step", "id", "state")
    return format_table(headings, rows, width=width, right=("rank", "run", watch.metric, "step"))


def _run_row(
    watch: "SweepWatch", standing: "Standing", names: Sequence[str], ranked: Sequence["Standing"]
) -> list[str]:
    from mg_tui.runs.sweeps.combinations import format_value
    from mg_tui.runs.sweeps.standing import describe_state

    score, view = watch.score(standing), standing.view
    total = f"/{view.total_steps}" if view.total_steps else ""
    return [
        str(ranked.index(standing) + 1) if standing in ranked else "",
        str(standing.run.number),
        *(one_line(format_value(standing.run.values.get(name, ""))) for name in names),
        "" if score is None else f"{score.value:.4g}",
        f"{view.step}{total}" if standing.state is not None else "",
        printable(standing.run.id[:20]),
        one_line(describe_state(watch, standing)),
    ]


def format_chart(watch: "SweepWatch", *, width: int) -> list[str]:
    """The scores of the best runs over their steps; empty when there are no two points."""
    from mg_tui.cli.sweeps.chart import draw_curves

    ranked = watch.ranked()
    others = [standing for standing in watch.standings if standing not in ranked]
    shown = [*ranked, *others][:_CHART_RUNS]
    curves = {standing.run.number: standing.curve(watch.metric) for standing in shown}
    return draw_curves(curves, title=watch.metric, width=min(width, 100))


def _describe_progress(watch: "SweepWatch") -> str:
    from mg_tui.runs.sweeps.standing import has_driver

    counts: dict[str, int] = {}
    for standing in watch.standings:
        label = standing.state.label if standing.state is not None else "missing"
        if watch.state.dropped_at(standing.run.number) is not None and label != "finished":
            label = "given up"
        counts[label] = counts.get(label, 0) + 1
    text = ", ".join(f"{count} {label}" for label, count in counts.items())
    if watch.state.done:
        return text
    if watch.folder.stop_file.exists():
        return runnable(f"{text}; stopped, continue with `model-garden sweep resume {watch.sweep.name}`")
    if not has_driver(watch.folder):
        return runnable(f"{text}; its driver does not run, `model-garden sweep resume {watch.sweep.name}` starts it")
    return text


def _list_row(watch: "SweepWatch") -> list[str]:
    ranked = watch.ranked()
    score = watch.score(ranked[0]) if ranked else None
    best = f"run {ranked[0].run.number}: {watch.metric} {score.value:.4g}" if score is not None else ""
    over = ", ".join(watch.sweep.over)
    return [printable(watch.sweep.name), str(len(watch.standings)), one_line(_describe_progress(watch)), best, over]

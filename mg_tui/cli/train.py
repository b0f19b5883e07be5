"""`model-garden train-vision`: build a spec from flags, check it, start the run and follow it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.launch import detach_or_follow, launch_options, parse_gpus, start_or_queue
from mg_tui.cli.progress import progress_bar
from mg_tui.cli.spec_flags import PRESET_OPTION, SpecCommand, default_values, explicit_values, spec_flags, value_origins
from mg_tui.config import Settings
from mg_tui.core.program import runnable
from mg_tui.core.spec import TrainingSpec

if TYPE_CHECKING:
    from mg_tui.preflight.checks import PreflightResult
    from mg_tui.runs.folder import RunFolder


@spec_flags(TrainingSpec)
@click.command("train-vision", cls=SpecCommand)
@click.option("--check-only", is_flag=True, help="Check options, model and data without starting a run.")
@PRESET_OPTION
@launch_options
@click.pass_context
def train_vision(
    ctx: click.Context,
    /,
    detach: bool,
    queue: bool,
    gpus: str | None,
    preset: str | None,
    check_only: bool,
    **values: Any,
) -> None:
    """Fine-tune a vision-language model.

    The run is a separate process that keeps running if this terminal closes or the connection is lost. Set defaults in
    the [train] table of garden.toml and presets in [presets.NAME].
    """
    settings: Settings = ctx.obj
    merged = {**default_values(settings, preset), **explicit_values(values)}
    spec = TrainingSpec.parse(merged, where=value_origins(settings, preset, values))
    ctx.exit(start_and_follow(spec, settings, detach=detach, check_only=check_only, gpus=gpus, queue=queue))


def start_and_follow(
    spec: TrainingSpec,
    settings: Settings,
    *,
    detach: bool = False,
    check_only: bool = False,
    gpus: str | None = None,
    queue: bool = False,
) -> int:
    """Check, start and follow a run; returns the exit code of the command.

    Raises:
        GardenError: a check failed; nothing has been written then.
    """
    devices = parse_gpus(gpus)
    if devices is not None and spec.processes is not None:
        from mg_tui.runs.device_request import check_process_count
        from mg_tui.runs.devices import find_devices

        check_process_count(spec.processes, devices, find_devices())
    if check_only:
        run_preflight(spec, settings)
        click.echo("all checks passed; no run was started", err=True)
        return 0
    return detach_or_follow(start_run(spec, settings, gpus=devices, queue=queue), detach=detach)


def start_run(
    spec: TrainingSpec, settings: Settings, *, gpus: Sequence[str] | None = None, queue: bool = False
) -> "RunFolder":
    """Run the preflight checks and start the run's worker, or add the run to the queue.

    Raises:
        GardenError: a check failed; nothing has been written then.
    """
    from mg_tui.runs import launch

    folder = launch.create_run(run_preflight(spec, settings).resolve_spec(spec), settings)
    click.echo(f"run      {folder.id}", err=True)
    start_or_queue(folder, gpus=gpus, queue=queue)
    return folder


def run_preflight(spec: TrainingSpec, settings: Settings) -> "PreflightResult":
    """Check output folder, model and data, and print a summary.

    Raises:
        GardenError: a check failed.
    """
    from mg_tui.preflight import checks
    from mg_tui.runs import launch

    launch.check_output_dir(spec)
    with progress_bar("checking rows and images") as progress:
        result = checks.run_preflight(spec, settings, cwd=Path.cwd(), progress=progress)
    _print_preflight(result)
    return result


def _print_preflight(result: "PreflightResult") -> None:
    from mg_tui.core.text import pluralize, printable
    from mg_tui.data.mixture import describe_parts

    dataset = result.dataset
    family = result.model.family.title if result.model.family else "determined after the download"
    click.echo(f"model    {printable(result.model.name)} ({family})", err=True)
    examples = pluralize(sum(dataset.copies) or len(dataset.examples), "example")
    click.echo(f"dataset  {examples}; images {dataset.format_image_locations() or 'none'}", err=True)
    for name, value, why in describe_parts(dataset):
        click.echo(printable(f"         {name.removeprefix('dataset ')}: {value}; {why}"), err=True)
    for part in dataset.parts:
        if part.detected_format is not None and (columns := part.detected_format.describe_columns()):
            click.echo(f"columns  {printable(part.name)}: {columns}", err=True)
    if dataset.detected_format is not None:
        click.echo(f"         {printable(str(dataset.detected_format))}", err=True)
        if columns := dataset.detected_format.describe_columns():
            click.echo(f"columns  {columns}", err=True)
    if result.evaluation is not None:
        click.echo(f"eval     {pluralize(len(result.evaluation.examples), 'example')}", err=True)
    for marker, count in dataset.text_markers.items():
        click.echo(f"         {printable(marker)} is left as text in {pluralize(count, 'row')}", err=True)
    if dataset.problems:
        rows = len({problem.row for problem in dataset.problems})
        click.echo(f"skipping {pluralize(rows, 'bad row')}, saved to skipped_rows.jsonl in the run folder", err=True)
    if result.report is not None:
        from mg_tui.preflight.loaded_dataset_check import format_warnings

        if warnings := format_warnings(result.report):
            click.echo(runnable(f"check    {warnings}; see `model-garden datasets check` for the rows"), err=True)
    for finding in result.machine:
        click.echo(f"{finding.level:<8} {printable(runnable(finding.sentence))}", err=True)

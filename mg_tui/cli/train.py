"""`model-garden train-vision`: a spec from flags, checked, started as a process of its own, and followed."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.launch import detach_or_follow, launch_options, parse_gpus, start_or_queue
from mg_tui.cli.spec_flags import PRESET_OPTION, SpecCommand, default_values, explicit_values, spec_flags, value_origins
from mg_tui.config import Settings
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

    The run is a separate process that keeps running if this terminal closes or the connection is lost. Set defaults in the [train] table of garden.toml and presets in [presets.NAME].
    """
    settings: Settings = ctx.obj
    asked = {**default_values(settings, preset), **explicit_values(values)}
    spec = TrainingSpec.parse(asked, where=value_origins(settings, preset, values))
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
        GardenError: something is wrong before the run starts; nothing has been made then.
    """
    asked = parse_gpus(gpus)
    if check_only:
        run_preflight(spec, settings)
        click.echo("all checks passed; no run was started", err=True)
        return 0
    return detach_or_follow(start_run(spec, settings, gpus=asked, queue=queue), detach=detach)


def start_run(
    spec: TrainingSpec, settings: Settings, *, gpus: Sequence[str] | None = None, queue: bool = False
) -> "RunFolder":
    """Check everything and start the run's process, or put it into the queue.

    Raises:
        GardenError: something is wrong; nothing has been made then.
    """
    from mg_tui.runs import launch

    folder = launch.create_run(run_preflight(spec, settings).resolve_spec(spec), settings)
    click.echo(f"run      {folder.id}", err=True)
    start_or_queue(folder, gpus=gpus, queue=queue)
    return folder


def run_preflight(spec: TrainingSpec, settings: Settings) -> "PreflightResult":
    """Check output folder, model and data, say what was found, and return it.

    Raises:
        GardenError: something is wrong.
    """
    from mg_tui.preflight import checks
    from mg_tui.runs import launch

    launch.check_output_dir(spec)
    with PreflightProgressLine() as progress:
        found = checks.run_preflight(spec, settings, cwd=Path.cwd(), progress=progress)
    _print_preflight(found)
    return found


class PreflightProgressLine:
    """A context that gives a progress callback: a bar on a terminal, silence elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "PreflightProgressLine":
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("checking rows and images", total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total)


def _print_preflight(found: "PreflightResult") -> None:
    from mg_tui.core.text import printable

    dataset = found.dataset
    family = found.model.family.title if found.model.family else "determined after the download"
    click.echo(f"model    {printable(found.model.name)} ({family})", err=True)
    click.echo(
        f"dataset  {len(dataset.examples)} examples; images {dataset.format_image_locations() or 'none'}", err=True
    )
    if dataset.detected_format is not None:
        click.echo(f"         {printable(str(dataset.detected_format))}", err=True)
        if columns := dataset.detected_format.describe_columns():
            click.echo(f"columns  {columns}", err=True)
    if found.evaluation is not None:
        click.echo(f"eval     {len(found.evaluation.examples)} examples", err=True)
    for marker, count in dataset.text_markers.items():
        click.echo(f"         {printable(marker)} is left as text in {count:,} rows", err=True)
    if dataset.problems:
        rows = len({problem.row for problem in dataset.problems})
        click.echo(f"skipping {rows} bad rows, saved to skipped_rows.jsonl in the run folder", err=True)
    if found.report is not None:
        from mg_tui.preflight.loaded_dataset_check import format_warnings

        if said := format_warnings(found.report):
            click.echo(f"check    {said}; see `model-garden datasets check` for the rows", err=True)

"""`model-garden train-vision`: a spec from flags, checked, started as a process of its own, and followed."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.spec_flags import PRESET, SpecCommand, defaults, given, origins, spec_flags
from mg_tui.cli.starting import begin, devices_asked, launch_options, leave_or_follow
from mg_tui.config import Settings
from mg_tui.core.spec import TrainingSpec

if TYPE_CHECKING:
    from mg_tui.ahead.preflight import Preflight
    from mg_tui.runs.folder import RunFolder


@spec_flags(TrainingSpec)
@click.command("train-vision", cls=SpecCommand)
@click.option("--check-only", is_flag=True, help="Check options, model and data, and start nothing.")
@PRESET
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

    The run is a process of its own: closing this terminal, or losing the connection, does not end it. Defaults can be
    set in the [train] table of garden.toml, and named sets of values in [presets.NAME].
    """
    settings: Settings = ctx.obj
    asked = {**defaults(settings, preset), **given(values)}
    spec = TrainingSpec.parse(asked, where=origins(settings, preset, values))
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
    asked = devices_asked(gpus)
    if check_only:
        check(spec, settings)
        click.echo("everything checked can be trained on; nothing was started", err=True)
        return 0
    return leave_or_follow(start_run(spec, settings, gpus=asked, queue=queue), detach=detach)


def start_run(
    spec: TrainingSpec, settings: Settings, *, gpus: Sequence[str] | None = None, queue: bool = False
) -> "RunFolder":
    """Check everything and start the run's process, or put it into the queue.

    Raises:
        GardenError: something is wrong; nothing has been made then.
    """
    from mg_tui.runs import launch

    folder = launch.prepare(check(spec, settings).settled(spec), settings)
    click.echo(f"run      {folder.id}", err=True)
    begin(folder, gpus=gpus, queue=queue)
    return folder


def check(spec: TrainingSpec, settings: Settings) -> "Preflight":
    """Check output folder, model and data, say what was found, and return it.

    Raises:
        GardenError: something is wrong.
    """
    from mg_tui.ahead import preflight
    from mg_tui.runs import launch

    launch.check_output(spec)
    with CheckingProgress() as progress:
        found = preflight.check(spec, settings, cwd=Path.cwd(), progress=progress)
    _say_what_was_found(found)
    return found


class CheckingProgress:
    """A context that gives a progress callback: a bar on a terminal, silence elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "CheckingProgress":
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


def _say_what_was_found(found: "Preflight") -> None:
    from mg_tui.core.text import printable

    dataset = found.dataset
    family = found.model.family.title if found.model.family else "known after the download"
    click.echo(f"model    {printable(found.model.name)} ({family})", err=True)
    click.echo(f"dataset  {len(dataset.examples)} examples; images {dataset.places_in_words() or 'none'}", err=True)
    if dataset.recognised is not None:
        click.echo(f"         {printable(str(dataset.recognised))}", err=True)
    if found.evaluation is not None:
        click.echo(f"eval     {len(found.evaluation.examples)} examples", err=True)
    if dataset.problems:
        rows = len({problem.row for problem in dataset.problems})
        click.echo(f"skipping {rows} bad rows; they are kept in skipped_rows.jsonl beside the run", err=True)
    if found.report is not None:
        from mg_tui.ahead.review import warnings_in_words

        if said := warnings_in_words(found.report):
            click.echo(f"check    {said}; `model-garden datasets check` says which rows", err=True)

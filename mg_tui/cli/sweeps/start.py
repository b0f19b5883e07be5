"""`model-garden sweep`: check every combination, queue the runs, and follow them."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.spec_flags import PRESET_OPTION, SpecCommand, default_values, explicit_values, spec_flags
from mg_tui.config import Settings
from mg_tui.core.program import runnable
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import pluralize, printable

if TYPE_CHECKING:
    from mg_tui.runs.sweeps.folder import SweepFolder
    from mg_tui.runs.sweeps.request import SweepRequest


class SweepCommand(SpecCommand):
    """`sweep show NAME` and the like are the commands of `sweeps`; anything else starts a sweep."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        from mg_tui.cli.sweeps import COMMANDS, sweeps

        if args and args[0] in COMMANDS:
            return sweeps.make_context(info_name, args, parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


@spec_flags(TrainingSpec, help_texts={"dataset": "Training data, as of train-vision; also as SOURCE."})
@click.command("sweep", cls=SweepCommand)
@click.argument("source", metavar="[SOURCE]", required=False, type=click.Path())
@click.option("--over", multiple=True, metavar="OPTION=V,V", help="Vary an option: values, or LOW..HIGH[:log].")
@click.option("--random", "count", type=int, metavar="N", help="Draw N combinations by --seed, not the whole grid.")
@click.option("--keep", type=int, multiple=True, metavar="N", help="Continue only the best N runs; with --after.")
@click.option("--after", type=int, multiple=True, metavar="STEP", help="Compare the runs after this step; repeatable.")
@click.option("--check-only", is_flag=True, help="Check every combination without starting a run.")
@click.option("--gpus", metavar="0,1|all|any|cpu", help="GPUs of each run, one process each. [default: any free one]")
@click.option("--detach", is_flag=True, help="Return at once; the sweep continues in the background.")
@PRESET_OPTION
@click.pass_context
def sweep(
    ctx: click.Context,
    /,
    source: str | None,
    over: tuple[str, ...],
    count: int | None,
    keep: tuple[int, ...],
    after: tuple[int, ...],
    check_only: bool,
    gpus: str | None,
    detach: bool,
    preset: str | None,
    **values: Any,
) -> None:
    """Train one model per combination of option values, compare them, and say which is best.

    SOURCE is a dataset, or a file that describes a sweep (docs/sweeps.md). The runs are queued like any others and
    share image features. A sweep continues if this terminal closes; the same command with the same --name continues a
    killed one. `model-garden sweep show NAME` shows it, also while it runs.
    """
    from mg_tui.cli.sweeps.show import print_sweep

    settings: Settings = ctx.obj
    request = _read_request(source, explicit_values(values), count=count, keep=keep, after=after, gpus=gpus)
    folder = _start(request, over, settings, preset, check_only=check_only)
    if folder is None:
        return
    if detach:
        click.echo(folder.name)
        click.echo(runnable(f"follow with: model-garden sweep watch {folder.name}"), err=True)
        return
    from mg_tui.cli.sweeps.control import follow_sweep

    code = follow_sweep(folder)
    print_sweep(folder)
    ctx.exit(code)


def _read_request(
    source: str | None,
    flags: dict[str, Any],
    *,
    count: int | None,
    keep: tuple[int, ...],
    after: tuple[int, ...],
    gpus: str | None,
) -> "SweepRequest":
    """What is asked for: the file's values, and those of the flags over them."""
    from mg_tui.core.errors import UsageError
    from mg_tui.runs.sweeps.request import SweepRequest, is_sweep_file, read_sweep_file

    request = SweepRequest()
    if source is not None and is_sweep_file(Path(source)):
        request = read_sweep_file(Path(source))
    elif source is not None:
        if "dataset" in flags:
            raise UsageError("dataset: given twice", why=f"{source} and --dataset", hint="give one of them")
        flags = {"dataset": source, **flags}
    name = flags.pop("name", None) or request.name or request.train.get("name")
    train = {key: value for key, value in {**request.train, **flags}.items() if key != "name"}
    return replace(
        request,
        train=train,
        name=name,
        random=count if count is not None else request.random,
        keep=keep or request.keep,
        after=after or request.after,
        gpus=gpus if gpus is not None else request.gpus,
    )


def _start(
    request: "SweepRequest", over: Sequence[str], settings: Settings, preset: str | None, *, check_only: bool
) -> "SweepFolder | None":
    """Check and start the sweep, or continue the same one; None when it is only checked."""
    from mg_tui.cli.launch import parse_gpus, wake_queue
    from mg_tui.cli.progress import progress_bar
    from mg_tui.cli.sweeps.control import print_resumed
    from mg_tui.cli.train import print_gpu_findings
    from mg_tui.preflight.sweeps import check_sweep, digest_request
    from mg_tui.runs.sweeps.folder import sweep_folder
    from mg_tui.runs.sweeps.operations import find_same_sweep, resume_sweep, start_sweep

    cwd = Path.cwd()
    name = request.name or time.strftime("sweep-%Y%m%d-%H%M%S", time.gmtime())
    sweep_folder(settings.home, name)
    same = find_same_sweep(settings.home, name, digest_request(name, request, over, cwd)) if not check_only else None
    if same is not None:
        print_resumed(resume_sweep(same, settings))
        return same
    defaults = default_values(settings, preset)
    gpus = parse_gpus(request.gpus) or ()
    print_gpu_findings(gpus)
    with progress_bar("checking rows and images") as progress:
        checked = check_sweep(
            name, request, settings, cwd=cwd, defaults=defaults, over=over, gpus=gpus, progress=progress
        )
    total = pluralize(len(checked.sweep.runs), "combination")
    click.echo(f"checked  {total} over {printable(', '.join(checked.sweep.over))}; all can be run", err=True)
    if check_only:
        return None
    wake_queue(settings.home)
    started = start_sweep(checked.sweep, settings)
    click.echo(f"sweep    {printable(name)}: {pluralize(len(checked.sweep.runs), 'run')} to the queue", err=True)
    return started.folder

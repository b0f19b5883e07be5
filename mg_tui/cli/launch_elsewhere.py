"""`model-garden launch`: a run on machines that Slurm, SkyPilot or dstack hand out."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.cli.progress import progress_bar
from mg_tui.cli.spec_flags import PRESET_OPTION, SpecCommand, default_values, explicit_values, spec_flags, value_origins
from mg_tui.config import Settings
from mg_tui.core.program import runnable
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import printable

if TYPE_CHECKING:
    from mg_tui.runs.folder import RunFolder
    from mg_tui.runs.launchers.job import ClusterJob

_POLL_SECONDS: Final = 1.0
_SET_BY_THE_JOB: Final = ("node_rank", "rendezvous")
# Options of one launcher that mean nothing to another.
_OWN: Final = {
    "slurm": ("partition", "account", "grace"),
    "skypilot": ("infra", "spot", "idle_minutes", "volume", "disk_gb"),
    "dstack": ("spot", "idle_minutes", "volume", "disk_gb"),
}


@spec_flags(TrainingSpec, only=lambda option: option.name not in _SET_BY_THE_JOB)
@click.command("launch", cls=SpecCommand)
@click.argument("launcher", type=click.Choice(sorted(_OWN)))
@click.option("--print", "only_print", is_flag=True, help="Print the job's file and submit nothing; always for dstack.")
@click.option("--gpu", metavar="KIND", help="Kind of GPU as the launcher names it, e.g. H100. [default: any]")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="Time limit of the job.")
@click.option(
    "--setup", multiple=True, metavar="LINE", help="Shell line that makes model-garden available; repeatable."
)
@click.option("--line", "extra", multiple=True, metavar="LINE", help="Line added to the job's file; repeatable.")
@click.option("--no-check", is_flag=True, help="Do not check model and data here: they are elsewhere.")
@click.option("--detach", is_flag=True, help="slurm: return once the job is submitted.")
@click.option("--partition", help="slurm: the partition.")
@click.option("--account", help="slurm: the account.")
@click.option("--grace", type=click.IntRange(min=1), help="slurm: seconds for the last checkpoint. [default: 120]")
@click.option("--infra", help="skypilot: where, e.g. aws, runpod/US-GA-1 or k8s/context. [default: cheapest]")
@click.option("--spot/--on-demand", default=None, help="skypilot, dstack: preemptible machines or not. [default: spot]")
@click.option(
    "--idle-minutes", type=click.IntRange(min=0), help="skypilot, dstack: until the machine ends. [default: 10]"
)
@click.option("--volume", help="skypilot, dstack: volume for the home, which outlives the machine.")
@click.option("--disk-gb", type=click.IntRange(min=1), help="skypilot, dstack: the machine's disk. [default: 256]")
@PRESET_OPTION
@click.pass_context
def launch(
    ctx: click.Context,
    /,
    launcher: str,
    only_print: bool,
    gpu: str | None,
    hours: float | None,
    setup: tuple[str, ...],
    extra: tuple[str, ...],
    no_check: bool,
    detach: bool,
    partition: str | None,
    account: str | None,
    grace: int | None,
    infra: str | None,
    spot: bool | None,
    idle_minutes: int | None,
    volume: str | None,
    disk_gb: int | None,
    preset: str | None,
    **values: Any,
) -> None:
    """Train on machines that Slurm, SkyPilot or dstack hand out.

    Takes the flags of train-vision; --processes is the number of GPUs of each machine, --nodes that of machines. A job
    that is started again, after its time limit, a preemption or a failure, resumes the run. docs/launching.md.
    """
    from mg_tui.runs.launchers.job import make_job

    settings: Settings = ctx.obj
    given = {"partition": partition, "account": account, "grace": grace, "infra": infra, "spot": spot}
    given |= {"idle_minutes": idle_minutes, "volume": volume, "disk_gb": disk_gb}
    own = _own_options(launcher, given)
    merged = {**default_values(settings, preset), **explicit_values(values)}
    several = {"rendezvous": "job:29500"} if str(merged.get("nodes", 1)) != "1" else {}  # known when the job starts
    spec = TrainingSpec.parse({**merged, **several}, where=value_origins(settings, preset, values))
    name = spec.name or time.strftime("garden-%Y%m%d-%H%M%S", time.gmtime())
    home = str(settings.home) if launcher == "slurm" else None
    job = make_job(spec, name, cwd=Path.cwd(), gpu=gpu, hours=hours, setup=setup, extra=extra, home=home)
    if not no_check:
        _check(spec, settings)
    text = _format(launcher, job, own)
    if only_print or launcher == "dstack":
        click.echo(text, nl=False)
        return
    _tell_losses(job, launcher, volume)
    ctx.exit(_submit(launcher, job, text, settings, detach=detach))


def _own_options(launcher: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options of this launcher that were given; one of another is an error."""
    named = {name: value for name, value in given.items() if value is not None}
    strange = next((name for name in named if name not in _OWN[launcher]), None)
    if strange is not None:
        owners = " and ".join(owner for owner, names in _OWN.items() if strange in names)
        raise click.UsageError(f"--{strange.replace('_', '-')} is for {owners}, not for {launcher}")
    return named


def _check(spec: TrainingSpec, settings: Settings) -> None:
    """The checks of model and data; the GPU that an optimizer needs is elsewhere."""
    from mg_tui.preflight import checks

    alone = spec.model_copy(update={"optimizer": "adamw", "notify": ()})
    with progress_bar("checking rows and images") as progress:
        checks.run_preflight(alone, settings, cwd=Path.cwd(), progress=progress)


def _format(launcher: str, job: "ClusterJob", own: dict[str, Any]) -> str:
    if launcher == "slurm":
        from mg_tui.runs.launchers.slurm import sbatch_file

        return sbatch_file(job, **own)
    if launcher == "skypilot":
        from mg_tui.runs.launchers.skypilot import skypilot_task

        return skypilot_task(job, **own)
    from mg_tui.runs.launchers.dstack import dstack_task

    return dstack_task(job, **own)


def _tell_losses(job: "ClusterJob", launcher: str, volume: str | None) -> None:
    if launcher == "skypilot" and volume is None and job.sync is None:
        click.echo("warning: a machine that is taken away takes the run with it; give --volume or --sync", err=True)


def _submit(launcher: str, job: "ClusterJob", text: str, settings: Settings, *, detach: bool) -> int:
    from mg_tui.runs.launchers.submit import require_program, submit_skypilot, submit_slurm, write_job_file

    require_program("sbatch" if launcher == "slurm" else "sky")
    if launcher == "slurm":
        _require_own_name(_home_of(job, settings), job.name)
    ending = "sbatch" if launcher == "slurm" else "yaml"
    file = write_job_file(settings.home, f"{job.name}.{ending}", text)
    if launcher == "skypilot":
        submit_skypilot(file, job.name)
        click.echo(job.name)
        click.echo(f"follow with: sky jobs logs --name {job.name}", err=True)
        return 0
    number = submit_slurm(file)
    click.echo(f"job      {printable(number)} ({printable(str(file))})", err=True)
    if detach:
        click.echo(number)
        click.echo(runnable(f"follow with: model-garden runs watch {job.name}, once it has started"), err=True)
        return 0
    return _follow(_home_of(job, settings), job.name, number)


def _require_own_name(home: Path, name: str) -> None:
    """Raise UsageError when the job would take another run for its own: it looks for it by its name."""
    from mg_tui.core.errors import GardenError, UsageError
    from mg_tui.runs.store import run_folders

    for folder in run_folders(home):
        try:
            own = folder.spec_values().get("name") == name
        except GardenError:
            own = False
        if folder.id.endswith(name) and not own:
            raise UsageError(f"name: run {folder.id} would be taken for {name!r}", hint="give another --name")


def _home_of(job: "ClusterJob", settings: Settings) -> Path:
    return settings.home / "node-0" if job.nodes > 1 else settings.home


def _follow(home: Path, name: str, number: str) -> int:
    """Wait until the job has started the run, and follow it by its journal in the shared home."""
    from mg_tui.cli.follow import exit_code_of, follow_run

    click.echo("waiting  for the job to start; ctrl+c leaves it in the queue", err=True)
    try:
        folder = _wait_for_run(home, name, number)
    except KeyboardInterrupt:
        click.echo(runnable(f"\nfollow with: model-garden runs watch {name}; end it with: scancel {number}"), err=True)
        return 130
    return exit_code_of(follow_run(folder), folder)


def _wait_for_run(home: Path, name: str, number: str) -> "RunFolder":
    from mg_tui.core.errors import RunFailed, UsageError
    from mg_tui.runs.launchers.submit import slurm_state
    from mg_tui.runs.state import RunState
    from mg_tui.runs.store import find_run, summarize_run

    gone = False
    while True:
        try:
            folder = find_run(home, name)
            if summarize_run(folder).state is not RunState.CREATED:
                return folder
        except UsageError:
            pass
        if gone:
            log = home / f"slurm-{name}-{number}.log"
            raise RunFailed(f"Job {number} ended before the run started.", where=str(log), hint=f"tail {log}")
        gone = slurm_state(number) is None  # looked at once more: it may have been quick
        time.sleep(_POLL_SECONDS)

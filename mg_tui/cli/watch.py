"""`model-garden watch`: messages about a run, copies of it, and the end of the rented machine, while nobody looks."""

import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mg_tui.cli.completion import complete_run
from mg_tui.config import Settings
from mg_tui.core.errors import EnvironmentProblem, RunFailed, UsageError
from mg_tui.core.text import one_line, printable

if TYPE_CHECKING:
    from mg_tui.runs.watch_request import WatchRequest

_READY_SECONDS: Final = 20.0  # for the test of every address
_STOP_SECONDS: Final = 40.0


@click.command()
@click.argument("run", metavar="[ID]", required=False, shell_complete=complete_run)
@click.option("--all", "everything", is_flag=True, help="Watch every run of this home, those that start later too.")
@click.option(
    "--notify",
    multiple=True,
    metavar="URL|NAME",
    help="Where to send messages: ntfy://TOPIC, https://..., a name of [notify]. Repeatable.",
)
@click.option("--sync", metavar="DEST", help="Folder, user@host:path, s3://bucket/path or hf://owner/name.")
@click.option("--when-done", metavar="stop|terminate|COMMAND", help="What happens once the result is safe and synced.")
@click.option(
    "--grace", type=click.FloatRange(min=0), help="Seconds in which --when-done can be cancelled. [default: 300]"
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--foreground", is_flag=True, help="Stay in this process, for a supervisor such as systemd.")
@click.option("--cancel", is_flag=True, help="Cancel what happens when it is done; messages and copies go on.")
@click.option("--stop", is_flag=True, help="End the watching.")
@click.pass_obj
def watch(
    settings: Settings,
    run: str | None,
    everything: bool,
    notify: tuple[str, ...],
    sync: str | None,
    when_done: str | None,
    grace: float | None,
    dry_run: bool,
    foreground: bool,
    cancel: bool,
    stop: bool,
) -> None:
    """Watch a run while nobody looks: send messages, copy it away, end the rented machine.

    A process of its own, which outlives the worker and this terminal, and also reports that the worker died. Options
    that are not given are those that the run was started with. Without any, says what is done around the run.
    """
    folder = _find_folder(settings, run, everything=everything)
    if stop or cancel:
        _end(folder, cancel=cancel)
        return
    request = _make_request(settings, folder, notify, sync, when_done, grace)
    if not request:
        raise UsageError(
            "There is nothing to watch for.", hint="give --notify, --sync or --when-done; see docs/watching.md"
        )
    if dry_run:
        _print_dry_run(request, folder)
        return
    _start(folder, request, given=bool(notify or sync or when_done or grace is not None), foreground=foreground)


def _find_folder(settings: Settings, run: str | None, *, everything: bool) -> Path:
    if (run is None) != everything:
        raise UsageError("Name one run, or give --all.", hint="model-garden watch last --notify ntfy://TOPIC")
    if run is None:
        settings.home.mkdir(parents=True, exist_ok=True)
        return settings.home.absolute()
    from mg_tui.runs.store import find_run

    return find_run(settings.home, run).path.absolute()


def _make_request(
    settings: Settings,
    folder: Path,
    notify: tuple[str, ...],
    sync: str | None,
    when_done: str | None,
    grace: float | None,
) -> "WatchRequest":
    """The request of before with the options that are given; checked."""
    from mg_tui.runs import watch_request
    from mg_tui.watching.requirements import check_request

    before = watch_request.read_watch_request(folder) or watch_request.WatchRequest(since=_last_event(folder))
    given = watch_request.make_watch_request(notify, sync, when_done, named=settings.notify, cwd=Path.cwd())
    request = replace(
        before,
        notify=given.notify or before.notify,
        sync=given.sync or before.sync,
        when_done=given.when_done or before.when_done,
        grace=before.grace if grace is None else grace,
    )
    check_request(request, os.environ)
    return request


def _last_event(folder: Path) -> int:
    """The newest event of a run: earlier ones are no news to whoever asks for messages now."""
    from mg_tui.runs.folder import RunFolder
    from mg_tui.runs.watch import RunWatch

    if not RunFolder(folder).journal_file.exists():
        return 0
    watch = RunWatch(RunFolder(folder))
    watch.refresh()
    return watch.view.last_number


def _start(folder: Path, request: "WatchRequest", *, given: bool, foreground: bool) -> None:
    from mg_tui.runs import watch_request, watcher_process
    from mg_tui.watching.process import WatchProcess, read_pid

    if watcher_process.is_watched(folder):
        pid = read_pid(folder)
        if not given:
            click.echo(f"watched by process {pid}", err=True)
            _print_state(folder)
            return
        raise RunFailed(
            f"{folder.name} is watched already" + (f" (process {pid})." if pid else "."),
            hint=f"end that with `model-garden watch {folder.name} --stop`, then start it again",
        )
    for name in (watch_request.STOP_FILE, watch_request.CANCEL_FILE):
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)
    watch_request.write_watch_request(folder, request)
    if foreground:
        raise click.exceptions.Exit(WatchProcess(folder).run())
    pid = watcher_process.start_watching(folder)
    wait_until_ready(folder, request)
    click.echo(f"watching in process {pid}; end it with `model-garden watch {folder.name} --stop`", err=True)
    _print_state(folder)


def wait_until_ready(folder: Path, request: "WatchRequest") -> None:
    """Wait for the test of every address, and warn of those that do not work.

    Raises:
        EnvironmentProblem: the process did not start.
    """
    from mg_tui.runs import watcher_process

    deadline = time.monotonic() + _READY_SECONDS
    started = False
    while time.monotonic() < deadline:
        started = started or watcher_process.is_watched(folder)
        channels = watcher_process.read_watch_state(folder).get("channels", {})
        if started and all(channels.get(label, {}).get("tested") for label in request.notify):
            break
        time.sleep(0.1)
    if not started:
        raise EnvironmentProblem("The watching process did not start.", where=str(folder / "watch.log"))
    _print_channel_problems(folder)


def _print_channel_problems(folder: Path) -> None:
    """Warn of addresses that could not be reached."""
    from mg_tui.runs import watcher_process

    channels = watcher_process.read_watch_state(folder).get("channels", {})
    for label, channel in channels.items():
        if isinstance(channel, dict) and channel.get("problem"):
            text = f"warning: {label} cannot be reached: {channel['problem']}; messages are tried again"
            click.echo(printable(one_line(text, limit=400)), err=True)


def _print_state(folder: Path) -> None:
    from mg_tui.runs.watcher_process import describe_watching

    for line in describe_watching(folder):
        click.echo(printable(one_line(line, limit=400)))


def _print_dry_run(request: "WatchRequest", folder: Path) -> None:
    from mg_tui.watching.when_done import describe

    for label in request.notify:
        click.echo(f"messages would be sent to {printable(label)}")
    if request.sync_label is not None:
        click.echo(f"checkpoints, journal and result would be copied to {printable(request.sync_label)}/{folder.name}")
    if request.when_done is not None:
        click.echo(
            f"{request.grace:.0f} s after that, unless cancelled: {printable(describe(request.when_done, os.environ))}"
        )


def _end(folder: Path, *, cancel: bool) -> None:
    from mg_tui.runs import watch_request, watcher_process

    if cancel:
        watcher_process.cancel_ending(folder)
        click.echo("cancelled: the machine keeps running; messages and copies go on", err=True)
        return
    if not watcher_process.is_watched(folder):
        raise UsageError(f"{folder.name} is not watched.")
    (folder / watch_request.STOP_FILE).touch()
    deadline = time.monotonic() + _STOP_SECONDS
    while watcher_process.is_watched(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    ended = not watcher_process.is_watched(folder)
    click.echo("no longer watched" if ended else "requested; it ends when the message it sends has arrived", err=True)

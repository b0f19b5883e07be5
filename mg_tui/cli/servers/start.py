"""`model-garden serve`: models behind OpenAI's API; a process of its own, followed until ctrl+c stops it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.spec_flags import SpecCommand, explicit_values, spec_flags
from mg_tui.config import Settings
from mg_tui.core.program import runnable
from mg_tui.core.serve_spec import ServeSpec

if TYPE_CHECKING:
    from mg_tui.runs.servers import ServerFolder


@spec_flags(ServeSpec)
@click.command("serve", cls=SpecCommand)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--gpus", metavar="0,1|any|cpu", help="GPUs by nvidia-smi index. [default: any free one]")
@click.option("--detach", is_flag=True, help="Serve in the background, and print the address when it is ready.")
@click.option("--json", "as_json", is_flag=True, help="With --detach: print id, address, models and proofs as JSON.")
@click.pass_context
def serve(
    ctx: click.Context, /, models: tuple[str, ...], gpus: str | None, detach: bool, as_json: bool, **values: Any
) -> None:
    """Serve models behind an OpenAI-compatible API.

    MODEL is a result folder, a run (id, name or `last`), a checkpoint of a run (RUN@STEP), a base model, or a .gguf
    file; NAME=MODEL gives the name that requests use. Several adapters share one base model. The address is printed on
    stdout. At the start each model is asked held-out rows, and it is said whether it answers as the trained one.

    Ctrl+c stops the server. If the terminal closes it keeps running: `model-garden servers` lists, follows and stops
    servers.
    """
    from mg_tui.cli.launch import parse_gpus
    from mg_tui.preflight.serving import launch_server

    if as_json and not detach:
        raise click.UsageError("--json goes with --detach")
    settings: Settings = ctx.obj
    spec = ServeSpec.parse({**explicit_values(values), "models": models})
    folder = launch_server(spec, settings, cwd=Path.cwd(), gpus=parse_gpus(gpus))
    click.echo(f"server {folder.id}", err=True)
    _tell_access(spec, settings)
    ctx.exit(_wait_until_ready(folder, as_json=as_json) if detach else _follow(folder))


def _tell_access(spec: ServeSpec, settings: Settings) -> None:
    from mg_tui.cli.listening import print_access
    from mg_tui.gate import TokenStore
    from mg_tui.preflight.serving import listener_of

    print_access(TokenStore(settings.home), listener_of(spec))


def _follow(folder: "ServerFolder") -> int:
    """Show the server until it ends; ctrl+c and SIGTERM end it."""
    from mg_tui.cli.follow import exit_code_of, follow_until_stopped
    from mg_tui.cli.servers.display import ServerStyle

    style = ServerStyle()
    watch = follow_until_stopped(folder, style)
    for line in style.outcome(folder, watch.view, watch.state):
        click.echo(line, err=True)
    return exit_code_of(watch.state, folder)


def _wait_until_ready(folder: "ServerFolder", *, as_json: bool) -> int:
    """Show the start, and return once requests are answered and the models were compared; print the address."""
    from mg_tui.cli.follow import exit_code_of
    from mg_tui.cli.runs.common import print_json
    from mg_tui.cli.servers.display import event_line, format_server_outcome
    from mg_tui.runs.follow import follow
    from mg_tui.runs.servers import server_record
    from mg_tui.runs.store import summarize_run
    from mg_tui.runs.watch import RunWatch

    watch, proofs = RunWatch(folder), []
    for events in follow(folder, 0.2, watch=watch):
        for event in events:
            if (line := event_line(event)) is not None:
                click.echo(line, err=True)
            if event.kind == "proof":
                proofs.append(dict(event.data))
        if watch.view.phase == "serving":
            record = server_record(summarize_run(folder))
            if as_json:
                print_json({**record, "proof": {str(proof["model"]): proof for proof in proofs}})
            else:
                click.echo(record["url"])
            click.echo(runnable(f"stop with: model-garden servers stop {folder.id}"), err=True)
            return 0
    for line in format_server_outcome(folder, watch.view, watch.state):
        click.echo(line, err=True)
    return exit_code_of(watch.state, folder)

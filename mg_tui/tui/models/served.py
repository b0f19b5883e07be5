"""Servers as the dashboard lists them, and the start of one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg_tui.config import Settings
from mg_tui.runs.servers import ServerFolder, running_servers, server_record
from mg_tui.runs.store import RunSummary, list_runs


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server: its folder, models, state in words, and what it does; None where it is not known (yet).

    `proof` says per model whether it answers as the trained one; `problem` why the server failed.
    """

    id: str
    folder: ServerFolder
    models: str
    running: bool
    state: str
    url: str | None
    requests: int | None
    rate: float | None
    latency: float | None
    first_token: float | None
    proof: str
    problem: str


def list_servers(home: Path) -> tuple[ServerRow, ...]:
    """The running servers, and the newest one even if it has ended: its start may have failed."""
    newest = list_runs(home, ServerFolder)[:1]
    running = running_servers(home)
    return tuple(_row(server) for server in [*running, *(each for each in newest if each.id not in _ids(running))])


def start_server(settings: Settings, model: str) -> ServerFolder:
    """Serve a model on this machine, on the first free port from the usual one on.

    Raises:
        GardenError: it cannot be served.
    """
    from mg_tui.core.serve_spec import ServeSpec
    from mg_tui.preflight.serving import first_free_port, launch_server

    spec = ServeSpec.parse({"models": (model,), "port": first_free_port()})
    return launch_server(spec, settings, cwd=Path.cwd())


def stop_server(folder: ServerFolder) -> str:
    """Ask a server to end; returns what to tell.

    Raises:
        GardenError: it is not running.
    """
    from mg_tui.runs import operations
    from mg_tui.runs.control import requester

    operations.request_stop(folder, requester("dashboard"), patience=0.0)
    return "asked to stop"


def _ids(servers: list[RunSummary]) -> set[str]:
    return {server.id for server in servers}


def _row(server: RunSummary) -> ServerRow:
    record: dict[str, Any] = server_record(server)
    folder = ServerFolder(server.folder.path)
    running = record["state"] == "running"
    error = server.view.error
    problem = " ".join(str(error[name]) for name in ("what", "why") if error.get(name))
    return ServerRow(
        id=server.id,
        folder=folder,
        models=", ".join(record["models"]),
        running=running,
        state=(server.view.phase or "starting") if running else server.state_text,
        url=record["url"],
        requests=record["requests"],
        rate=record["requests_per_second"],
        latency=record["latency_seconds"],
        first_token=record["first_token_seconds"],
        proof="; ".join(_proof(name, proof) for name, proof in (record["proof"] or {}).items()),
        problem=problem,
    )


def _proof(name: str, proof: dict[str, Any]) -> str:
    if proof.get("outcome") == "none":
        return f"{name}: not compared with the trained model"
    return f"{name}: {proof.get('alike')} of {proof.get('rows')} answers as trained"

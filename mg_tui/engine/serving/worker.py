"""The worker of a server."""

from pathlib import Path

from mg_tui.engine.monitoring.detached_worker import run_detached
from mg_tui.engine.serving.job import ServeJob
from mg_tui.runs.servers import ServerFolder


def run_worker(path: Path) -> int:
    """Run a server until it is stopped; returns the exit code."""
    return run_detached(ServerFolder(path), ServeJob)

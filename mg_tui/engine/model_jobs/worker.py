"""The worker of a job: one merge, export, verification or push."""

from pathlib import Path
from typing import Final

from mg_tui.engine.model_jobs.job import ModelJob
from mg_tui.engine.monitoring.detached_worker import run_detached
from mg_tui.runs.model_jobs import ModelJobFolder

_MEMORY_HINT: Final = "use --device cpu, or free memory"


def run_worker(path: Path) -> int:
    """Do a job; returns the exit code."""
    return run_detached(ModelJobFolder(path), ModelJob, memory_hint=_MEMORY_HINT)

"""The worker of an evaluation; answers that were given are on the disk whatever happens."""

from pathlib import Path
from typing import Final

from mg_tui.engine.evaluation.job import EvaluationJob
from mg_tui.engine.monitoring.detached_worker import run_detached
from mg_tui.runs.evaluations import EvaluationFolder

_MEMORY_HINT: Final = "lower --batch-size, or use --quantization nf4"


def run_worker(path: Path) -> int:
    """Run or resume an evaluation; returns the exit code."""
    return run_detached(EvaluationFolder(path), EvaluationJob, memory_hint=_MEMORY_HINT)

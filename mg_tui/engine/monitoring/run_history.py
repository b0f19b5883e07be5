"""A run's numbers so far from its journal, all attempts together."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader


@dataclass(slots=True)
class RunHistory:
    """Numbers of a run.

    Attributes:
        attempts: how often a worker started the run.
        cwd: the working folder the run was started from.
        final_loss, eval_loss: of the newest step and the newest evaluation that count, or None.
        supervised_tokens: of all steps, repeated steps counted once.
        seconds: between the first and the last event of each attempt, in sum.
        peak_device_memory: bytes, or None.
        gpu_usage: `energy_j` and `gpu_seconds`, where known; each event has those of the whole run.
    """

    cwd: Path
    attempts: int = 0
    final_loss: float | None = None
    eval_loss: float | None = None
    supervised_tokens: int = 0
    seconds: float = 0.0
    peak_device_memory: int | None = None
    gpu_usage: dict[str, float] = field(default_factory=dict)


def read_run_history(folder: RunFolder) -> RunHistory:
    """Read a run's journal up to now."""
    history = RunHistory(cwd=folder.path)
    tokens: dict[int, int] = {}
    began = last = None
    for event in JournalReader(folder.journal_file).read_new():
        data: Any = event.data
        if event.kind == "started":
            history.seconds += (last - began) if began is not None and last is not None else 0.0
            history.attempts += 1
            began = event.t
        elif event.kind == "queued":  # waiting in the queue is not training time
            history.seconds += (last - began) if began is not None and last is not None else 0.0
            began = None
        elif event.kind == "created" and data.get("cwd"):
            history.cwd = Path(str(data["cwd"]))
        elif event.kind == "step":
            tokens[data["step"]] = int(data.get("supervised_tokens") or 0)
            history.final_loss = data.get("loss")
            peak = data.get("device_memory_peak")
            history.peak_device_memory = max(history.peak_device_memory or 0, peak) if peak else None
        elif event.kind == "eval":
            history.eval_loss = data.get("loss")
        history.gpu_usage.update({name: float(data[name]) for name in ("energy_j", "gpu_seconds") if data.get(name)})
        last = event.t
    history.seconds += max(time.time() - began, 0.0) if began is not None else 0.0
    history.supervised_tokens = sum(tokens.values())
    return history

"""A run's numbers so far from its journal, all attempts together."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.records import optional_int, read_scores
from mg_tui.runs.series import to_float


@dataclass(slots=True)
class RunHistory:
    """Numbers of a run.

    Attributes:
        attempts: how often a worker started the run.
        cwd: the working folder the run was started from.
        spec_digest, spec_values: of the spec as the run was created with it, or as it was accepted; see `spec_check`.
        final_loss, eval_loss: of the newest step and the newest evaluation that count, or None.
        eval_metrics: scores of answers of the newest evaluation.
        supervised_tokens: of all steps, repeated steps counted once.
        seconds: between the first and the last event of each attempt, in sum.
        peak_device_memory: bytes, or None.
        evaluations: the scores by metric, `loss` among them, of each step with an evaluation.
        sampled_steps: the steps with samples.
        damaged_lines, damage: number of lines that are no events, and descriptions of the first ones.
        examples_per_step: of the newest plan; None before there was one.
        gpu_usage: `energy_j` and `gpu_seconds`, where known; each event has those of the whole run.
    """

    cwd: Path
    spec_digest: str | None = None
    spec_values: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    final_loss: float | None = None
    eval_loss: float | None = None
    eval_metrics: dict[str, float] = field(default_factory=dict)
    supervised_tokens: int = 0
    seconds: float = 0.0
    peak_device_memory: int | None = None
    evaluations: dict[int, dict[str, float]] = field(default_factory=dict)
    sampled_steps: set[int] = field(default_factory=set)
    damaged_lines: int = 0
    damage: tuple[str, ...] = ()
    gpu_usage: dict[str, float] = field(default_factory=dict)
    examples_per_step: int | None = None


def read_run_history(folder: RunFolder) -> RunHistory:
    """Read a run's journal up to now."""
    history = RunHistory(cwd=folder.path)
    tokens: dict[int, int] = {}
    began = last = None
    reader = JournalReader(folder.journal_file)
    for event in reader.read_new():
        data: Any = event.data
        if event.kind == "started":
            history.seconds += (last - began) if began is not None and last is not None else 0.0
            history.attempts += 1
            resumed = int(data.get("resumed_from") or 0)  # what came after it is repeated
            history.evaluations = {step: scores for step, scores in history.evaluations.items() if step <= resumed}
            began = event.t
        elif event.kind == "queued":  # waiting in the queue is not training time
            history.seconds += (last - began) if began is not None and last is not None else 0.0
            began = None
        elif event.kind in ("created", "spec_accepted"):
            history.cwd = Path(str(data.get("cwd") or history.cwd))
            history.spec_digest, history.spec_values = data.get("spec_digest"), data.get("spec") or {}
        elif event.kind == "step" and "step" in data:
            tokens[data["step"]] = int(data.get("supervised_tokens") or 0)
            history.final_loss = data.get("loss")
            peak = data.get("device_memory_peak")
            history.peak_device_memory = max(history.peak_device_memory or 0, peak) if peak else None
        elif event.kind == "eval":
            history.eval_loss, history.eval_metrics = data.get("loss"), read_scores(data.get("metrics"))
            scores = {"loss": to_float(data.get("loss")), **read_scores(data.get("metrics"))}
            history.evaluations[int(data["step"])] = scores
        elif event.kind == "plan":
            history.examples_per_step = optional_int(data.get("examples_per_step"))
        elif event.kind == "sample":
            history.sampled_steps.add(data.get("step"))
        history.gpu_usage.update({name: float(data[name]) for name in ("energy_j", "gpu_seconds") if data.get(name)})
        last = event.t
    history.seconds += max(time.time() - began, 0.0) if began is not None else 0.0
    history.supervised_tokens = sum(tokens.values())
    history.damaged_lines, history.damage = reader.corrupt_lines, tuple(reader.problems)
    return history

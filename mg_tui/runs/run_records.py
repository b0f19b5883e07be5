"""Runs and evaluations as plain values: what `--json` prints and the API answers."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mg_tui.runs.evaluations import EvaluationFolder, read_json_file
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary


def run_record(run: RunSummary, now: float, prices: Mapping[str, Any]) -> dict[str, Any]:
    """Everything about a run except its curves, as plain values."""
    view = run.view
    return {
        **run.as_dict(now, prices),
        "spec": dict(run.spec),
        "versions": dict(view.versions),
        "plan": dict(view.plan),
        "latest": dict(view.latest_step),
        "evals": [asdict(item) for item in view.evals],
        "saved": [asdict(item) for item in view.checkpoints],
        "samples": [asdict(item) for item in view.samples],
        "decisions": [asdict(item) for item in view.decisions],
        "notices": [asdict(item) for item in view.warnings],
        "ranks": [asdict(item) for item in view.ranks],
        "requests": [dict(item) for item in view.requests],
        "skipped_rows": view.skipped_rows,
        "result": dict(view.result),
        "error": dict(view.error),
    }


def evaluation_record(evaluation: RunSummary, now: float) -> dict[str, Any]:
    """An evaluation as plain values, with its summary, comparison and speed where there are any."""
    folder = EvaluationFolder(evaluation.folder.path)
    return {
        **summary_record(evaluation, now),
        "spec": dict(evaluation.spec),
        "warnings": [{"what": warning.what, "why": warning.why} for warning in evaluation.view.warnings],
        "error": dict(evaluation.view.error),
        "summary": read_json_file(folder.results_dir / "summary.json"),
        "before": read_json_file(folder.before_dir / "summary.json"),
        "comparison": read_json_file(folder.comparison_file),
        "speed": read_json_file(folder.speed_file),
    }


def summary_record(evaluation: RunSummary, now: float) -> dict[str, Any]:
    """An evaluation in a list, as plain values; times in seconds, moments as Unix time."""
    view = evaluation.view
    return {
        "id": evaluation.id,
        "state": evaluation.state.value,
        "problem": evaluation.problem,
        "path": str(evaluation.folder.path),
        "model": evaluation.spec.get("model"),
        "compare": evaluation.spec.get("compare"),
        "endpoint": evaluation.spec.get("endpoint"),
        "dataset": evaluation.spec.get("dataset"),
        "answered": view.step,
        "total": view.total_steps,
        "eta_seconds": view.eta_seconds(now) if evaluation.state is RunState.RUNNING else None,
        "elapsed_seconds": evaluation.elapsed_seconds(now),
        "created_at": view.created_at,
        "ended_at": view.ended_at,
        "metrics": view.result.get("metrics"),
    }

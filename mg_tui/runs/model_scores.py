"""Scores of models from finished evaluations, read from their summaries."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from mg_tui.core.errors import GardenError
from mg_tui.runs.evaluations import EvaluationFolder, read_json_file
from mg_tui.runs.store import run_folders

SUMMARY_FILE = "summary.json"  # written last: an evaluation that has it is finished


@dataclass(frozen=True, slots=True)
class ModelScore:
    """A model's score by a metric: its evaluation's id, the dataset as it was given (not safe to print), the rows."""

    value: float
    higher_is_better: bool
    evaluation: str
    dataset: str
    rows: int


def read_model_scores(home: Path) -> dict[str, dict[str, ModelScore]]:
    """The newest score of every model by metric; a model is called as in its evaluation: a folder, a run, a name."""
    scores: dict[str, dict[str, ModelScore]] = {}
    for folder in run_folders(home, EvaluationFolder):  # newest first
        summary = read_json_file(folder.results_dir / SUMMARY_FILE)
        if summary is None:
            continue
        try:
            spec = folder.spec_values()
        except GardenError:
            continue
        if isinstance(model := spec.get("model"), str):
            of_model = scores.setdefault(model, {})
            for name, score in _scores(folder.id, str(spec.get("dataset", "")), summary).items():
                of_model.setdefault(name, score)
    return scores


def scores_of(
    scores: Mapping[str, Mapping[str, ModelScore]], folder: Path | None, names: tuple[str, ...]
) -> dict[str, ModelScore]:
    """The scores of a model by metric, whatever its evaluations call it: the newest evaluation counts."""
    found: dict[str, ModelScore] = {}
    for called in dict.fromkeys((*([str(folder)] if folder is not None else []), *names)):
        for name, score in scores.get(called, {}).items():
            if name not in found or found[name].evaluation < score.evaluation:  # ids begin with the time
                found[name] = score
    return found


def _scores(evaluation: str, dataset: str, summary: Mapping[str, Any]) -> dict[str, ModelScore]:
    metrics, rows = summary.get("metrics"), summary.get("rows")
    found = {}
    for metric in metrics if isinstance(metrics, list) else ():
        if not isinstance(metric, dict) or not isinstance(metric.get("name"), str):
            continue
        score = metric.get("score")
        if isinstance(score, int | float) and isfinite(score):
            better = metric.get("higher_is_better") is not False
            count = rows if isinstance(rows, int) else 0
            found[metric["name"]] = ModelScore(float(score), better, evaluation, dataset, count)
    return found

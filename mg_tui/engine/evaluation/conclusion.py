"""What an evaluation ends with: the comparison of two models, and the report."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mg_tui.core.files import write_atomic
from mg_tui.metrics.registry import load_metrics
from mg_tui.metrics.report import write_report
from mg_tui.metrics.results import compare_results, read_results
from mg_tui.runs.evaluations import EvaluationFolder

if TYPE_CHECKING:
    from mg_tui.core.evaluation_spec import EvaluationSpec


def write_conclusion(folder: EvaluationFolder, spec: "EvaluationSpec", *, compared: bool) -> dict[str, float]:
    """Compare and report what was answered; returns the scores by metric.

    Raises:
        GardenError: the two cannot be compared, or the report cannot be written.
    """
    results = read_results(folder.results_dir)
    before = read_results(folder.before_dir) if compared else None
    if before is not None:
        changes = [
            {**asdict(change), "sentence": change.sentence}
            for change in compare_results(before, results, load_metrics())
        ]
        record = {"before": before.spec.get("model"), "after": results.spec.get("model"), "metrics": changes}
        write_atomic(folder.comparison_file, (json.dumps(record, ensure_ascii=False, indent=2) + "\n").encode())
    if spec.report is not None:
        write_report(Path(spec.report), results, registry=load_metrics(), before=before, title=spec.title)
    scores: dict[str, Any] = {metric["name"]: metric["score"] for metric in results.summary["metrics"]}
    return scores

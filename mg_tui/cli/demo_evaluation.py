"""The evaluations of the demo: of the task it learned, and of questions that its base model could answer before."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.cli.tables import format_table
from mg_tui.config import Settings
from mg_tui.core.errors import RunFailed
from mg_tui.runs.folder import RunFolder

if TYPE_CHECKING:
    from mg_tui.metrics.uncertainty import Comparison
    from mg_tui.runs.evaluations import EvaluationFolder

METRIC: Final = "exact_match_vqa"
# Long enough for every expected answer; longer answers of the base model are truncated and wrong either way.
MAX_ANSWER_TOKENS: Final = 16
LISTED_ROWS: Final = 6


def evaluate_demo(
    settings: Settings, folder: RunFolder, dataset: Path, name: str, *, base: str = "base"
) -> "EvaluationFolder":
    """The result of a run and its base model on a dataset, by an evaluation as `evaluate-vision` makes it.

    Args:
        settings: of the garden.
        folder: the run.
        dataset: rows that it was not trained on.
        name: of the evaluation.
        base: the base model, which the result of an adapter knows.

    Raises:
        RunFailed: the evaluation did not finish.
    """
    from mg_tui.cli.evaluations.display import EvaluationStyle
    from mg_tui.cli.evaluations.start import start_evaluation
    from mg_tui.cli.follow import follow_run
    from mg_tui.core.evaluation_spec import EvaluationSpec

    spec = EvaluationSpec.parse(
        {
            "name": name,
            "model": folder.id,
            "compare": base,
            "dataset": str(dataset),
            "metrics": METRIC,
            "max_new_tokens": MAX_ANSWER_TOKENS,
            "batch_size": 32,
        }
    )
    evaluation = start_evaluation(spec, settings)
    state = follow_run(evaluation, EvaluationStyle())
    if state.value != "finished":
        hint = f"see `model-garden evaluations show {evaluation.id}`"
        raise RunFailed(f"the evaluation did not finish ({state.label})", hint=hint)
    return evaluation


def change_record(change: "Comparison") -> dict[str, Any]:
    """What changed: the difference with its interval, the verdict, and the rows that were fixed and broken."""
    return {
        "change": change.change,
        "low": change.interval.low,
        "high": change.interval.high,
        "verdict": change.verdict,
        "fixed": list(change.fixed),
        "broken": list(change.broken),
        "sentence": change.sentence,
    }


def forgetting_report(settings: Settings, folder: RunFolder, data: Path, *, seed: int) -> dict[str, Any]:
    """What the fine-tuned model forgot: scores on questions of the base model's training, and the rows it broke."""
    from mg_tui.data.synthetic.demo import make_earlier_questions
    from mg_tui.metrics.registry import load_metrics
    from mg_tui.metrics.results import compare_results, read_results

    evaluation = evaluate_demo(settings, folder, make_earlier_questions(data, seed=seed), "demo-forgetting")
    before, after = read_results(evaluation.before_dir), read_results(evaluation.results_dir)
    (change,) = compare_results(before, after, load_metrics())
    broken = set(change.broken)
    return {
        "evaluation": evaluation.id,
        "rows": len(after.rows),
        "before": change.before,
        "after": change.after,
        "change": change_record(change),
        "broken_rows": [
            {
                "row": new.row,
                "image": new.images[0],
                "prompt": new.question,
                "expected": new.references[0],
                "base_answer": old.answer,
                "answer": new.answer,
            }
            for old, new in zip(before.rows, after.rows, strict=True)
            if new.row in broken
        ],
    }


def forgetting_lines(report: dict[str, Any], width: int | None) -> list[str]:
    """The report as lines: the change, and the first rows that were broken."""
    from mg_tui.core.program import runnable
    from mg_tui.core.text import one_line

    change, broken = report["change"], report["broken_rows"]
    counts = f"{len(change['fixed'])} rows fixed, {len(broken)} broken"
    lines = [f"Forgotten: {report['rows']} questions that the base model was trained on", ""]
    lines += [f"{change['sentence']} {counts}{':' if broken else '.'}", ""]
    names = ("prompt", "expected", "base_answer", "answer")
    cells = [[one_line(row[name], limit=36) for name in names] for row in broken[:LISTED_ROWS]]
    if cells:
        lines += [*format_table(("question", "expected", "before", "after"), cells, width=width)]
    if len(broken) > LISTED_ROWS:
        lines.append(f"and {len(broken) - LISTED_ROWS} more")
    write = f"model-garden evaluations write-rows {report['evaluation']} --only broken --output broken.jsonl"
    return [*lines, *([runnable(f"to train on them too: {write}")] if broken else []), ""]

"""What front ends make of an evaluation: its report, and a new dataset of some of its rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from mg_tui.core.errors import GardenError, UsageError
from mg_tui.data.boxes import BoxFormat
from mg_tui.data.evaluated_rows import WrittenRows, write_evaluated_rows
from mg_tui.data.evaluation_rows import FieldNames
from mg_tui.metrics.registry import load_metrics
from mg_tui.metrics.report import write_report
from mg_tui.metrics.results import Results, read_results
from mg_tui.runs.evaluations import EvaluationFolder, read_json_file
from mg_tui.runs.watch import RunWatch

RowKind = Literal["wrong", "broken", "fixed", "errors"]


def write_evaluation_report(folder: EvaluationFolder, path: Path) -> None:
    """Write the HTML report of a finished evaluation.

    Raises:
        GardenError: it is not finished or damaged, or the file cannot be written.
    """
    before = read_results(folder.before_dir) if folder.comparison_file.is_file() else None
    try:
        title = folder.read_evaluation_spec().title
    except GardenError:
        title = ""  # of an older or newer version; the report does not need it
    write_report(path, read_results(folder.results_dir), registry=load_metrics(), before=before, title=title)


def find_questions(
    folder: EvaluationFolder, *, numbers: Sequence[int] = (), only: RowKind | None = None
) -> dict[int, str]:
    """Rows of a finished evaluation by number, with their questions: these numbers, or those of a kind.

    Rows are wrong, fixed or broken by the first metric.

    Raises:
        UsageError: it is not finished, has no such row, or its first metric does not say which rows are correct.
        DataError: a file of it is damaged.
    """
    results = read_results(folder.results_dir)
    by_number = {row.row: row.question for row in results.rows}
    wanted = list(numbers) if only is None else _rows_of_kind(folder, results, only)
    for number in wanted:
        if number not in by_number:
            raise UsageError(
                f"the evaluation has no row {number}", hint=f"it has rows 1 to {max(by_number, default=0)}"
            )
    return {number: by_number[number] for number in wanted}


def _rows_of_kind(folder: EvaluationFolder, results: Results, only: RowKind) -> list[int]:
    if only == "errors":
        return [row.row for row in results.rows if row.error is not None]
    name = next(iter(results.metric_names), "")
    metric = next((one for one in load_metrics().metrics if one.name == name), None)
    if metric is None or metric.correct_at is None:
        raise UsageError(f"the metric {name!r} does not say which rows are correct", hint="name rows with --rows")
    if only == "wrong":
        return [
            row.row
            for row, score in zip(results.rows, results.scores[name], strict=True)
            if metric.is_correct(score) is False
        ]
    comparison = read_json_file(folder.comparison_file)
    if comparison is None:
        raise UsageError("the evaluation compares nothing", hint="evaluate with --compare base")
    return [int(number) for number in next(one for one in comparison["metrics"] if one["name"] == name)[only]]


def write_rows(
    folder: EvaluationFolder, questions: Mapping[int, str], out: Path, *, cache: Path | None, force: bool = False
) -> WrittenRows:
    """Write rows of an evaluation, by number with their questions, to a new dataset.

    Raises:
        UsageError: no row is named, or the output exists.
        DataError: the dataset is not what it was.
        EnvironmentProblem: the new dataset cannot be written.
    """
    watch = RunWatch(folder)
    watch.refresh()
    names = read_json_file(folder.fields_file) or {}
    text, image, response = (str(names[name]) if names.get(name) else None for name in ("text", "image", "response"))
    boxes = BoxFormat(**names["boxes"]) if names.get("boxes") else None
    return write_evaluated_rows(
        folder.read_evaluation_spec(),
        questions,
        out,
        cwd=Path(watch.view.cwd or "."),
        cache=cache,
        trained=FieldNames(text, image, response, boxes),
        force=force,
    )

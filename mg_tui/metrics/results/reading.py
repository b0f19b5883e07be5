"""Read an evaluation back, score it again, compare it with another."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg_tui.core.errors import DataError, UsageError
from mg_tui.metrics.contract import Evaluation, Metric
from mg_tui.metrics.registry import MetricRegistry
from mg_tui.metrics.results.files import ANSWERS, ROWS, SPEC, SUMMARY
from mg_tui.metrics.results.records import AnsweredRow, parse_row
from mg_tui.metrics.scoring import clusters_by_image, evaluate
from mg_tui.metrics.uncertainty import Comparison, compare


@dataclass(frozen=True, slots=True)
class Results:
    """A finished evaluation.

    Attributes:
        folder: where it is.
        spec: what was evaluated.
        summary: the content of `summary.json`.
        rows: the answered rows in the order of the dataset, without times.
        scores: by metric, one score a row, as they were written.
    """

    folder: Path
    spec: dict[str, Any]
    summary: dict[str, Any]
    rows: tuple[AnsweredRow, ...]
    scores: dict[str, tuple[float, ...]]

    @property
    def metric_names(self) -> list[str]:
        """Names of the metrics that were computed, in their order."""
        return [metric["name"] for metric in self.summary["metrics"]]

    def evaluate(self, metrics: Sequence[Metric]) -> Evaluation:
        """Score the answers again, by these metrics."""
        return evaluate([row.prediction for row in self.rows], metrics)

    def worst_first(self, name: str) -> list[int]:
        """Places of the rows by a metric's score, the worst first; of equal ones the first row first.

        Raises:
            KeyError: the metric was not computed.
        """
        better = {metric["name"]: metric["higher_is_better"] for metric in self.summary["metrics"]}[name]
        values = self.scores[name]
        return sorted(range(len(values)), key=lambda place: (values[place] if better else -values[place], place))


def read_results(folder: Path) -> Results:
    """The results of a finished evaluation.

    Raises:
        UsageError: there is none in the folder, or it is not finished.
        DataError: a file of it is damaged.
    """
    if not (folder / SUMMARY).is_file():
        unfinished = (folder / SPEC).is_file()
        raise UsageError(
            "the evaluation is not finished" if unfinished else "there is no evaluation in this folder",
            where=str(folder),
            hint="resume it: finished answers are stored" if unfinished else None,
        )
    try:
        summary = json.loads((folder / SUMMARY).read_bytes())
        lines = (folder / ROWS).read_bytes().split(b"\n")[:-1]
        rows = tuple(parse_row(line) for line in lines)
        written = [json.loads(line)["scores"] for line in lines]
        names = [metric["name"] for metric in summary["metrics"]]
        scores = {name: tuple(float(row[name]) for row in written) for name in names}
        spec = dict(summary["evaluation"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, str(error)) from None
    whole = tuple(row for row in rows if row is not None)
    if len(whole) != len(rows) or len(rows) != summary.get("rows"):
        raise _damaged(folder, f"{ROWS} has not the rows that {SUMMARY} counts")
    return Results(folder, spec, summary, whole, scores)


def read_answers(folder: Path) -> list[AnsweredRow]:
    """The answers there are so far, with their times, in the order they came; also while they are being written.

    Raises:
        UsageError: there is no evaluation in the folder.
    """
    try:
        data = (folder / ANSWERS).read_bytes()
    except OSError:
        raise UsageError("there is no evaluation in this folder", where=str(folder)) from None
    rows: dict[int, AnsweredRow] = {}
    for line in data.split(b"\n")[:-1]:
        row = parse_row(line)
        if row is not None:
            rows.setdefault(row.row, row)
    return list(rows.values())


def compare_results(before: Results, after: Results, registry: MetricRegistry) -> list[Comparison]:
    """Two models on the same rows, by every metric that both evaluations have.

    Raises:
        UsageError: the evaluations are of different rows or references, or have no metric in common.
    """
    if [row.row for row in before.rows] != [row.row for row in after.rows]:
        raise UsageError(
            "the two evaluations are of different rows",
            where=f"{before.folder} and {after.folder}",
            hint="evaluate both on the same dataset, split and limit",
        )
    for old, new in zip(before.rows, after.rows, strict=True):
        if old.references != new.references:
            raise UsageError(
                f"row {old.row} has other references in the two evaluations",
                where=f"{before.folder} and {after.folder}",
                why="the dataset changed between them, or they are of two datasets",
                hint="evaluate both again on the same dataset",
            )
    names = [name for name in before.metric_names if name in after.metric_names]
    if not names:
        raise UsageError("the two evaluations have no metric in common", hint="name it with --metrics")
    metrics = registry.named(names)
    first, second = before.evaluate(metrics), after.evaluate(metrics)
    clusters = clusters_by_image(second.predictions)
    done = {scores.metric.name for scores in first.scores} & {scores.metric.name for scores in second.scores}
    return [compare(first.of(name), second.of(name), clusters) for name in names if name in done]


def _damaged(folder: Path, why: str) -> DataError:
    return DataError("the results of the evaluation are damaged", where=str(folder), why=why, hint="evaluate again")

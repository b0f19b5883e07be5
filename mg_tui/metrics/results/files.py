"""The final files of an evaluation: rows as JSON Lines and Parquet, and the summary. Same answers, same bytes."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.text import one_line
from mg_tui.metrics.contract import Evaluation
from mg_tui.metrics.groups import Group, by_group, groupable
from mg_tui.metrics.results.records import SCHEMA, AnsweredRow, json_line, json_safe
from mg_tui.metrics.scoring import clusters_by_image
from mg_tui.metrics.uncertainty import CONFIDENCE, RESAMPLES, SEED, intervals

SPEC: Final = "evaluation.json"
ANSWERS: Final = "answers.jsonl"
ROWS: Final = "rows.jsonl"
TABLE: Final = "rows.parquet"
SUMMARY: Final = "summary.json"
# More digits than an interval has meaning for, and few enough to be the same on every machine.
_DIGITS: Final = 9
# Columns that are grouped by unasked.
_MAX_COLUMNS: Final = 8


def write_final(
    folder: Path,
    spec: Mapping[str, Any],
    rows: Sequence[AnsweredRow],
    evaluation: Evaluation,
    *,
    reason: str,
    group_by: Sequence[str] | None,
) -> None:
    """Write the final files; `summary.json` last, and away while the others are written.

    Raises:
        UsageError: no row has a column to group by.
        OSError: they cannot be written.
    """
    text = json.dumps(json_safe(summary(spec, rows, evaluation, reason, group_by)), ensure_ascii=False, indent=2)
    with suppress(FileNotFoundError):
        (folder / SUMMARY).unlink()
    write_bytes(folder / ROWS, b"".join(json_line(record) for record in records(rows, evaluation)))
    _write_table(folder / TABLE, rows, evaluation)
    write_bytes(folder / SUMMARY, text.encode() + b"\n")


def records(rows: Sequence[AnsweredRow], evaluation: Evaluation) -> list[dict[str, Any]]:
    """One object a row: what was asked and answered, and the scores by metric."""
    lines = []
    for place, row in enumerate(rows):
        record = {key: value for key, value in json.loads(row.line()).items() if key != "timing"}
        record["scores"] = {scores.metric.name: scores.values[place] for scores in evaluation.scores}
        lines.append(record)
    return lines


def summary(
    spec: Mapping[str, Any],
    rows: Sequence[AnsweredRow],
    evaluation: Evaluation,
    reason: str,
    group_by: Sequence[str] | None,
) -> dict[str, Any]:
    """The content of `summary.json`.

    Raises:
        UsageError: no row has a column to group by.
    """
    clusters = clusters_by_image(evaluation.predictions)
    spans = intervals(evaluation.scores, clusters)
    return {
        "schema": SCHEMA,
        "evaluation": dict(spec),
        "rows": len(rows),
        "independent_rows": len(set(clusters)),
        "empty_answers": evaluation.empty_answers,
        "rows_with_errors": sum(row.error is not None for row in rows),
        "metrics_reason": reason,
        "metrics": [
            {
                "name": scores.metric.name,
                "version": scores.metric.version,
                "title": scores.metric.title,
                "plugin": scores.metric.origin or None,
                "score": _round(scores.aggregate),
                "low": _round(span.low),
                "high": _round(span.high),
                "higher_is_better": scores.metric.higher_is_better,
                "details": scores.details,
            }
            for scores, span in zip(evaluation.scores, spans, strict=True)
        ],
        "failed_metrics": [
            {
                "name": failure.metric.name,
                "version": failure.metric.version,
                "plugin": failure.metric.origin,
                "problem": failure.problem,
            }
            for failure in evaluation.failed
        ],
        "intervals": {"confidence": CONFIDENCE, "resamples": RESAMPLES, "seed": SEED, "resampled": "by image"},
        "groups": {
            name: [
                {
                    "value": group.value,
                    "rows": len(group.rows),
                    "score": _round(group.score),
                    "low": _round(group.interval.low),
                    "high": _round(group.interval.high),
                    "small": group.small,
                }
                for group in groups
            ]
            for name, groups in grouped(rows, evaluation, group_by).items()
        },
    }


def grouped(
    rows: Sequence[AnsweredRow], evaluation: Evaluation, group_by: Sequence[str] | None
) -> dict[str, list[Group]]:
    """The first metric by each column.

    Raises:
        UsageError: no row has a column of `group_by`.
    """
    columns = [dict(row.columns) for row in rows]
    names = groupable(columns)[:_MAX_COLUMNS] if group_by is None else list(group_by)
    known = list(dict.fromkeys(name for row in columns for name in row))
    for name in names:
        if name not in known:
            raise UsageError(
                f"no row has a column {one_line(name, limit=60)!r} to group by",
                why=f"there are {', '.join(one_line(column, limit=40) for column in known[:20])}"
                if known
                else "there is none",
            )
    if not evaluation.scores:
        return {}
    clusters = clusters_by_image(evaluation.predictions)
    return {name: by_group(evaluation.scores[0], [row.get(name) for row in columns], clusters) for name in names}


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    fd, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)  # noqa: PTH101
        Path(beside).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(beside).unlink()
        raise


def _write_table(path: Path, rows: Sequence[AnsweredRow], evaluation: Evaluation) -> None:
    import io

    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    read = [json.loads(row.line()) for row in rows]
    columns: dict[str, Any] = {
        "row": pa.array([row["row"] for row in read], pa.int64()),
        "question": pa.array([row["question"] for row in read], pa.string()),
        "answer": pa.array([row["answer"] for row in read], pa.string()),
        "references": pa.array([json.dumps(row["references"], ensure_ascii=False) for row in read], pa.string()),
        "images": pa.array([row["images"] for row in read], pa.list_(pa.string())),
        "error": pa.array([row.get("error") for row in read], pa.string()),
    }
    for scores in evaluation.scores:
        columns[f"score.{scores.metric.name}"] = pa.array(scores.values, pa.float64())
    for name in dict.fromkeys(name for row in read for name in row["columns"]):
        columns[f"column.{name}"] = _array([row["columns"].get(name) for row in read])
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    write_bytes(path, buffer.getvalue())


def _array(values: Sequence[Any]) -> Any:
    """A column of the dataset: of its own type where all values have one that fits, else JSON as text."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    for kind, arrow in ((bool, pa.bool_()), (int, pa.int64()), (float, pa.float64()), (str, pa.string())):
        if kinds == {kind}:
            with suppress(pa.ArrowInvalid, OverflowError):
                return pa.array(values, arrow)
    texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    return pa.array(texts, pa.string())


def _round(value: float) -> float:
    return round(value, _DIGITS)

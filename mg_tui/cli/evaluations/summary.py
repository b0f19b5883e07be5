"""Evaluations as lines and as plain values: the list, and the page of one with its scores and changes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mg_tui.cli.evaluations.display import format_evaluation_outcome
from mg_tui.cli.formatting import UNKNOWN, format_bytes, format_duration, format_progress
from mg_tui.cli.tables import format_noted_rows
from mg_tui.core.text import one_line, printable
from mg_tui.runs.evaluations import EvaluationFolder, read_json_file
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary

_COLUMNS: Final = ("ID", "STATE", "ROWS", "SCORE", "TIME", "ETA", "MODEL", "DATASET")
_RIGHT: Final = ("ROWS", "TIME", "ETA")
_MAX_GROUPS: Final = 12
_MAX_ROWS: Final = 12


def format_table(evaluations: Sequence[RunSummary], now: float, *, width: int | None) -> list[str]:
    """One line an evaluation under a line of headings, cut to `width` columns where given."""
    rows = [_format_row(evaluation, now) for evaluation in evaluations]
    return format_rows_of(rows, [evaluation.problem for evaluation in evaluations], width=width)


def format_rows_of(rows: Sequence[Sequence[str]], problems: Sequence[str | None], *, width: int | None) -> list[str]:
    """The table of evaluations that are texts already: id, state, rows, score, time, ETA, model and dataset."""
    return format_noted_rows(_COLUMNS, rows, problems, width=width, right=_RIGHT)


def format_page(evaluation: RunSummary, now: float) -> list[str]:
    """Everything a person wants to know of one evaluation."""
    view, folder = evaluation.view, EvaluationFolder(evaluation.folder.path)
    spec = {name: value for name, value in evaluation.spec.items() if value not in (None, "", [], False)}
    facts = [
        ("id", printable(evaluation.id)),
        ("state", f"{evaluation.state.glyph} {evaluation.state_text}"),
        ("problem", evaluation.problem and one_line(evaluation.problem)),
        ("folder", printable(str(folder.path))),
        ("model", _text(spec.get("model"))),
        ("endpoint", _text(spec.get("endpoint"))),
        ("compare", _text(spec.get("compare"))),
        ("dataset", _text(spec.get("dataset"))),
        ("split", _text(spec.get("split"))),
        ("rows", format_progress(view) + (" answers" if spec.get("compare") else "")),
        ("time", format_duration(evaluation.elapsed_seconds(now))),
        ("ETA", format_duration(view.eta_seconds(now)) if evaluation.state is RunState.RUNNING else None),
        ("skipped", f"{view.skipped_rows} rows; see {folder.skipped_rows_file.name}" if view.skipped_rows else None),
    ]
    lines = [f"{label:<9}{value}" for label, value in facts if value]
    lines += [one_line(f"warning  {w.what}" + (f": {w.why}" if w.why else "")) for w in list(view.warnings)[-10:]]
    lines += format_scores(folder)
    last = format_evaluation_outcome(folder, view, evaluation.state)
    return [*lines, "", *last] if last else lines


def format_scores(folder: EvaluationFolder) -> list[str]:
    """The scores of a finished evaluation, what changed, groups and speed; empty while it is not finished."""
    summary = read_json_file(folder.results_dir / "summary.json")
    if summary is None:
        return []
    comparison = read_json_file(folder.comparison_file)
    lines = ["", one_line(str(summary["metrics_reason"]))]
    changes = {change["name"]: change for change in comparison["metrics"]} if comparison else {}
    titles = [one_line(metric["title"], limit=32) for metric in summary["metrics"]]
    width = max(map(len, titles), default=0)
    for metric, title in zip(summary["metrics"], titles, strict=True):
        change = changes.get(metric["name"])
        line = f"  {title:<{width}}  {metric['score']:.3f}  ({metric['low']:.3f} to {metric['high']:.3f})"
        if change:
            low, high = change["interval"]["low"], change["interval"]["high"]
            line += f"  before {change['before']:.3f}  change {change['change']:+.3f} ({low:+.3f} to {high:+.3f})"
            line += f"  {change['verdict']}"
        lines.append(line if metric["higher_is_better"] else f"{line}  (less is better)")
    counts = f"{summary['rows']} rows, {summary['independent_rows']} independent by image; 95 % intervals by bootstrap"
    lines.append(f"  {counts}")
    lines += [f"  {line}" for line in _limit_lines(folder)]
    for label, name in (("empty answers", "empty_answers"), ("rows that could not be answered", "rows_with_errors")):
        if summary[name]:
            lines.append(f"  {label}: {summary[name]}, counted as wrong")
    for failed in summary["failed_metrics"]:
        lines.append(one_line(f"  metric {failed['name']} failed: {failed['problem']}"))
    if comparison:
        lines += _change_lines(comparison)
    lines += _group_lines(summary)
    return lines + _speed_lines(read_json_file(folder.speed_file))


_LIMITS_FROM: Final = {"own": "the model's own limits", "given": "as asked for"}


def _limit_lines(folder: EvaluationFolder) -> list[str]:
    """How images were resized, for each model or both; nothing of a server, which does as it likes."""
    specs = [read_json_file(place / "evaluation.json") for place in (folder.results_dir, folder.before_dir)]
    texts = [_limits_text(spec) if spec is not None and "device" in spec else None for spec in specs]
    if texts[0] is None:
        return []
    if texts[1] is None:
        return [f"images resized {texts[0]}"]
    if texts[0] == texts[1]:
        return [f"images resized {texts[0]}, for both models"]
    return [f"images resized {texts[0]}; for the model before {texts[1]}"]


def _limits_text(spec: Mapping[str, Any]) -> str:
    if "limits_from" not in spec:
        return "as in training"
    source = _LIMITS_FROM.get(spec["limits_from"], one_line(str(spec["limits_from"])))
    return f"to {spec['min_pixels']:,} to {spec['max_pixels']:,} pixels ({source})"


def _format_row(evaluation: RunSummary, now: float) -> tuple[str, ...]:
    scores: Mapping[str, Any] = view_scores(evaluation)
    name = next(iter(scores), None)
    dataset = str(evaluation.spec.get("dataset") or UNKNOWN)
    return (
        printable(evaluation.id),
        f"{evaluation.state.glyph} {evaluation.state.label}",
        format_progress(evaluation.view),
        f"{name} {scores[name]:.3f}" if name is not None else UNKNOWN,
        format_duration(evaluation.elapsed_seconds(now)),
        format_duration(evaluation.view.eta_seconds(now)) if evaluation.state is RunState.RUNNING else UNKNOWN,
        one_line(str(evaluation.spec.get("model") or UNKNOWN), limit=40),
        one_line(dataset.rpartition("/")[2] or dataset, limit=40),
    )


def view_scores(evaluation: RunSummary) -> Mapping[str, float]:
    """The scores by metric of a finished evaluation, the first the one it is judged by; empty while there are none."""
    scores = evaluation.view.result.get("metrics")
    return scores if isinstance(scores, dict) else {}


def _change_lines(comparison: Mapping[str, Any]) -> list[str]:
    changes = comparison["metrics"]
    lines = ["", one_line(f"{comparison['before']} → {comparison['after']}")]
    lines += [f"  {one_line(change['sentence'])}" for change in changes]
    judged = next((change for change in changes if change["fixed"] or change["broken"]), None)
    if judged is not None:
        lines += [_rows_line(name, judged[name], judged["title"]) for name in ("fixed", "broken")]
    return lines


def _rows_line(name: str, rows: Sequence[int], title: str) -> str:
    shown = ", ".join(map(str, rows[:_MAX_ROWS])) + (
        f" and {len(rows) - _MAX_ROWS} more" if len(rows) > _MAX_ROWS else ""
    )
    return f"  {len(rows)} rows {name} ({one_line(title)})" + (f": {shown}" if rows else "")


def _group_lines(summary: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    title = summary["metrics"][0]["title"] if summary["metrics"] else ""
    for column, groups in summary["groups"].items():
        lines += ["", one_line(f"{title} by {column}, worst first")]
        for group in groups[:_MAX_GROUPS]:
            note = "  (few rows)" if group["small"] else ""
            score = f"{group['score']:.3f}  ({group['low']:.3f} to {group['high']:.3f})"
            lines.append(f"  {score}  {group['rows']:>5} rows  {one_line(group['value'], limit=60)}{note}")
        if len(groups) > _MAX_GROUPS:
            lines.append(f"  and {len(groups) - _MAX_GROUPS} more groups")
    return lines


def _speed_lines(speed: Mapping[str, Any] | None) -> list[str]:
    if speed is None:
        return []
    lines = ["", "speed     first token          whole answer         tokens/s  images/s  peak memory"]
    for batch in speed["speed"]:
        first = f"{batch['first_token_median']:.3f} s (p95 {batch['first_token_p95']:.3f})"
        whole = f"{batch['whole_median']:.3f} s (p95 {batch['whole_p95']:.3f})"
        peak = format_bytes(batch["peak_memory"])
        lines.append(
            f"batch {batch['batch']:<3} {first:<20} {whole:<20} {batch['tokens_per_second']:>8.1f}  "
            f"{batch['images_per_second']:>8.2f}  {peak}"
        )
    return lines


def _text(value: Any) -> str | None:
    return None if value is None else one_line(str(value))

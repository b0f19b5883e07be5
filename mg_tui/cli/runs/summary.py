"""The table of runs, the page of a run as lines, and the record of a run for JSON."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mg_tui.cli.formatting import (
    UNKNOWN,
    format_bytes,
    format_duration,
    format_message,
    format_number,
    format_outcome,
    format_progress,
    format_scores,
)
from mg_tui.cli.tables import format_noted_rows
from mg_tui.core.run_columns import RUN_COLUMNS_BY_KEY
from mg_tui.core.text import one_line, printable
from mg_tui.runs.elsewhere import explain_silence, path_of
from mg_tui.runs.records import RankState, SavedCheckpoint, describe_rank
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary
from mg_tui.runs.watcher_process import describe_watching

_COLUMNS: Final = ("id", "state", "step", "loss", "time", "eta", "model")
_RIGHT: Final = frozenset({"progress", "step", "loss", "eval_loss", "time", "eta", "age", "cost"})
_MAX_WARNINGS: Final = 10


def format_table(
    summaries: Sequence[RunSummary],
    now: float,
    *,
    width: int | None,
    columns: Sequence[str] = (),
    prices: Mapping[str, Any] | None = None,
) -> list[str]:
    """A heading and one line per run, cut to `width` columns if set; problems are on a line of their own.

    `columns`: keys of `mg_tui.core.run_columns`; by default the usual ones, with names and tags if a run was given any.
    `prices`: the settings' [cost] table.
    """
    columns = columns or _usual_columns(summaries)
    titles = [RUN_COLUMNS_BY_KEY[key].title for key in columns]
    right = [RUN_COLUMNS_BY_KEY[key].title for key in columns if key in _RIGHT]
    cells = [[_format_cell(run, key, now, prices or {}) for key in columns] for run in summaries]
    return format_noted_rows(titles, cells, [run.problem for run in summaries], width=width, right=right)


def format_page(run: RunSummary, now: float, prices: Mapping[str, Any]) -> list[str]:
    """Options, progress and outcome of a run. `prices`: the settings' [cost] table."""
    view, folder = run.view, run.folder
    facts: list[tuple[str, str | None]] = [
        ("run", printable(run.id)),
        ("name", run.name and one_line(run.name)),
        ("tags", " ".join(f"#{tag}" for tag in run.annotations.tags)),
        ("note", one_line(run.annotations.note)),
        ("state", f"{run.state.glyph} {run.state_text}"),
        ("why", explain_silence(folder, view.pid, view.host) if run.silent_seconds is not None else None),
        ("problem", run.problem and one_line(run.problem)),
        ("folder", printable(path_of(folder))),
        ("model", _spec_value(run.spec, "base_model")),
        ("dataset", _spec_value(run.spec, "dataset")),
        ("output", _spec_value(run.spec, "output_dir")),
        ("created", _format_time(view.created_at)),
        ("started", _format_time(view.started_at)),
        ("ended", _format_time(view.ended_at)),
        ("attempt", str(view.attempt) if view.attempt > 1 else None),
        ("process", f"{view.pid} on {view.host}" if run.state is RunState.RUNNING and view.pid else None),
        ("doing", view.phase and one_line(view.phase) if run.state is RunState.RUNNING else None),
        ("step", format_progress(view)),
        ("loss", format_number(view.latest_step["loss"]) if "loss" in view.latest_step else None),
        ("time", format_duration(run.elapsed_seconds(now))),
        ("ETA", format_duration(view.eta_seconds(now)) if run.state is RunState.RUNNING else None),
        (
            "memory",
            format_bytes(view.latest_step.get("device_memory_peak"))
            if view.latest_step.get("device_memory_peak")
            else None,
        ),
        ("used", _format_cost(run, now, prices)),
        (
            "skipped",
            f"{view.skipped_rows} rows; see {folder.skipped_rows_file.name}" if view.skipped_rows else None,
        ),
    ]
    lines = [f"{label:<9}{value}" for label, value in facts if value]
    lines += [f"{'rank':<9}{text}" for text in format_ranks(view.ranks)]
    lines += [f"eval     step {e.step}: {format_scores({'loss': e.loss, **e.metrics})}" for e in list(view.evals)[-3:]]
    lines += [format_checkpoint(saved, best=saved == view.best) for saved in view.checkpoints]
    newest = {decision.what: decision for decision in view.decisions}  # of the latest attempt
    lines += [one_line(f"chose    {d.what}: {d.value} ({d.why})") for d in newest.values()]
    lines += _warning_lines(run)
    lines += [one_line(f"watch    {line}") for line in describe_watching(folder.path)]
    last = format_outcome(folder, view, run.state)
    return [*lines, "", *last] if last else lines


def format_ranks(ranks: Sequence[RankState]) -> list[str]:
    """A line for each of several training processes: step, last word, time of its share, memory, utilization."""
    return [one_line(f"{state.rank}: {', '.join(describe_rank(state, ranks))}") for state in ranks]


def _format_cost(run: RunSummary, now: float, prices: Mapping[str, Any]) -> str | None:
    """What a run has used, and what it will still cost."""
    cost, left = run.cost(now, prices), run.cost_to_end(now, prices)
    more = f"; about {left:,.2f} {printable(cost.currency or '')} more to the end" if left is not None else ""
    return f"{cost.summary}{more}" if cost.summary else None


def _usual_columns(summaries: Sequence[RunSummary]) -> tuple[str, ...]:
    renamed = ("name",) if any(run.annotations.name for run in summaries) else ()
    tagged = ("tags",) if any(run.annotations.tags for run in summaries) else ()
    return (*_COLUMNS[:1], *renamed, *_COLUMNS[1:-1], *tagged, *_COLUMNS[-1:])


def _format_cell(run: RunSummary, key: str, now: float, prices: Mapping[str, Any]) -> str:
    view = run.view
    match key:
        case "id":
            return printable(run.id)
        case "name":
            return one_line(run.name or "") or UNKNOWN
        case "state":
            return f"{run.state.glyph} {run.state_text}"
        case "progress":
            return f"{min(view.step / view.total_steps, 1):.0%}" if view.total_steps else UNKNOWN
        case "step":
            return format_progress(view)
        case "loss":
            return format_number(view.latest_step.get("loss"))
        case "eval_loss":
            return format_number(min((item.loss for item in view.evals), default=None))
        case "time":
            return format_duration(run.elapsed_seconds(now))
        case "eta":
            return format_duration(view.eta_seconds(now)) if run.state is RunState.RUNNING else UNKNOWN
        case "age":
            changed = view.ended_at or view.started_at or view.created_at
            return UNKNOWN if changed is None else format_duration(now - changed)
        case "cost":
            return run.cost(now, prices).formatted_money or UNKNOWN
        case "tags":
            return " ".join(f"#{tag}" for tag in run.annotations.tags)
        case "note":
            return one_line(run.annotations.note.partition("\n")[0])
        case _:
            return _spec_value(run.spec, {"model": "base_model"}.get(key, key)) or UNKNOWN


def format_checkpoint(saved: SavedCheckpoint, *, best: bool) -> str:
    evaluated = f", eval loss {format_number(saved.eval_loss)}" if saved.eval_loss is not None else ""
    if saved.eval_metrics:
        evaluated += f", {format_scores(saved.eval_metrics)}"
    mark = "  ★ best" if best else ""
    if best and saved.best_by != "loss":
        mark += f" by {one_line(saved.best_by, limit=40)}"
    return f"saved    step {saved.step}: {printable(saved.path)} ({format_bytes(saved.bytes)}{evaluated}){mark}"


def _warning_lines(run: RunSummary) -> list[str]:
    latest = list(run.view.warnings)[-_MAX_WARNINGS:]
    lines = [
        f"warning  {format_message(w.what, where=w.where, why=w.why)}" + (f" ({w.times}x)" if w.times > 1 else "")
        for w in latest
    ]
    hidden = len(run.view.warnings) - len(latest)
    return [*(one_line(line) for line in lines), *([f"         and {hidden} earlier ones"] if hidden > 0 else [])]


def _spec_value(spec: Mapping[str, Any], name: str) -> str | None:
    value = spec.get(name)
    return None if value is None else one_line(str(value))


def _format_time(t: float | None) -> str | None:
    return None if t is None else time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(t))

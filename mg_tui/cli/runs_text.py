"""The list of runs and the page of one run, as lines; and the record of one run, as plain values."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from mg_tui.cli.run_text import UNKNOWN, duration, ending, progress, said, short, size
from mg_tui.core.text import one_line, printable
from mg_tui.runs.cost import cost_of
from mg_tui.runs.records import SavedCheckpoint
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary

_HEAD: Final = ("ID", "STATE", "STEP", "LOSS", "TIME", "ETA", "MODEL")
_WARNINGS: Final = 10


def table(found: Sequence[RunSummary], now: float, *, width: int | None) -> list[str]:
    """One line a run under a line of headings, cut to `width` columns where given; problems on a line below theirs."""
    from rich.cells import cell_len, set_cell_size

    rows = [_HEAD, *(_row(run, now) for run in found)]
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(_HEAD))]
    problems = ["", *(run.problem for run in found)]
    lines: list[str] = []
    for row, problem in zip(rows, problems, strict=True):
        padded = (set_cell_size(cell, widths[column]) for column, cell in enumerate(row))
        lines.append("  ".join(padded).rstrip())
        if problem:
            lines.append(f"  ! {one_line(problem)}")
    return [set_cell_size(line, width).rstrip() if width and cell_len(line) > width else line for line in lines]


def page(run: RunSummary, now: float, prices: Mapping[str, Any]) -> list[str]:
    """Everything a person wants to know of one run first. `prices`: the settings' [cost] table."""
    view, folder = run.view, run.folder
    facts: list[tuple[str, str | None]] = [
        ("run", printable(run.id)),
        ("name", run.name and one_line(run.name)),
        ("state", f"{run.state.glyph} {run.state.word}"),
        ("problem", run.problem and one_line(run.problem)),
        ("folder", printable(str(folder.path))),
        ("model", _of(run.spec, "base_model")),
        ("dataset", _of(run.spec, "dataset")),
        ("output", _of(run.spec, "output_dir")),
        ("created", _moment(view.created_at)),
        ("started", _moment(view.started_at)),
        ("ended", _moment(view.ended_at)),
        ("attempt", str(view.attempt) if view.attempt > 1 else None),
        ("process", f"{view.pid} on {view.host}" if run.state is RunState.RUNNING and view.pid else None),
        ("doing", view.phase and one_line(view.phase) if run.state is RunState.RUNNING else None),
        ("step", progress(view)),
        ("loss", short(view.latest["loss"]) if "loss" in view.latest else None),
        ("time", duration(run.elapsed_seconds(now))),
        ("ETA", duration(view.eta_seconds(now)) if run.state is RunState.RUNNING else None),
        ("memory", size(view.latest.get("device_memory_peak")) if view.latest.get("device_memory_peak") else None),
        ("used", cost_of(view.energy_j, view.gpu_seconds, prices).words),
        (
            "skipped",
            f"{view.skipped_rows} rows, kept in {folder.skipped_rows_file.name}" if view.skipped_rows else None,
        ),
    ]
    lines = [f"{label:<9}{value}" for label, value in facts if value]
    lines += [f"eval     step {e.step}: loss {short(e.loss)}" for e in list(view.evals)[-3:]]
    lines += [_saved(saved, best=saved == view.best) for saved in view.checkpoints]
    newest = {decision.what: decision for decision in view.decisions}  # of several attempts, the last one's
    lines += [one_line(f"chose    {d.what}: {d.value} ({d.why})") for d in newest.values()]
    lines += _warnings(run)
    last = ending(folder, view, run.state)
    return [*lines, "", *last] if last else lines


def record(run: RunSummary, now: float, prices: Mapping[str, Any]) -> dict[str, Any]:
    """All of one run but its curves, as plain values."""
    view = run.view
    return {
        **run.as_dict(now, prices),
        "spec": dict(run.spec),
        "versions": dict(view.versions),
        "plan": dict(view.plan),
        "latest": dict(view.latest),
        "evals": [asdict(item) for item in view.evals],
        "saved": [asdict(item) for item in view.checkpoints],
        "samples": [asdict(item) for item in view.samples],
        "decisions": [asdict(item) for item in view.decisions],
        "notices": [asdict(item) for item in view.warnings],
        "requests": [dict(item) for item in view.requests],
        "skipped_rows": view.skipped_rows,
        "result": dict(view.result),
        "error": dict(view.error),
    }


def _row(run: RunSummary, now: float) -> tuple[str, ...]:
    view = run.view
    eta = duration(view.eta_seconds(now)) if run.state is RunState.RUNNING else UNKNOWN
    return (
        printable(run.id),
        f"{run.state.glyph} {run.state.word}",
        progress(view),
        short(view.latest.get("loss")),
        duration(run.elapsed_seconds(now)),
        eta,
        _of(run.spec, "base_model") or UNKNOWN,
    )


def _saved(saved: SavedCheckpoint, *, best: bool) -> str:
    evaluated = f", eval loss {short(saved.eval_loss)}" if saved.eval_loss is not None else ""
    mark = "  ★ best" if best else ""
    return f"saved    step {saved.step}: {printable(saved.path)} ({size(saved.bytes)}{evaluated}){mark}"


def _warnings(run: RunSummary) -> list[str]:
    shown = list(run.view.warnings)[-_WARNINGS:]
    lines = [
        f"warning  {said(w.what, where=w.where, why=w.why)}" + (f" ({w.times}x)" if w.times > 1 else "") for w in shown
    ]
    hidden = len(run.view.warnings) - len(shown)
    return [*(one_line(line) for line in lines), *([f"         and {hidden} earlier ones"] if hidden > 0 else [])]


def _of(spec: Mapping[str, Any], name: str) -> str | None:
    value = spec.get(name)
    return None if value is None else one_line(str(value))


def _moment(t: float | None) -> str | None:
    return None if t is None else time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(t))

"""What stands on the pages: everything as printable texts and numbers, nothing of HTML."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mg_tui.api.pages.charts import CurveChart, make_chart
from mg_tui.api.paths import AllowedPaths
from mg_tui.core.text import format_gib, one_line, printable
from mg_tui.runs.outcome import describe_outcome
from mg_tui.runs.series import to_float
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary

_MAX_NAME: Final = 120
_MAX_LINE: Final = 400
_MAX_BLOCK: Final = 2_000  # characters of an answer
_MAX_SAMPLES: Final = 24
_MAX_WARNINGS: Final = 20
_MAX_CHECKPOINTS: Final = 100
UNKNOWN: Final = "–"


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in the list; `percent` is its progress from 0 to 100, or None."""

    id: str
    title: str
    state: str
    state_text: str
    model: str
    steps: str
    percent: float | None
    loss: str
    time: str
    created: str
    tags: list[str]
    detail: str


@dataclass(frozen=True, slots=True)
class SampleCard:
    """An answer generated while training."""

    step: int
    row: int | None
    prompt: str
    expected: str | None
    answer: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """How a run ended that did not end well: in a line; facts; the end of its log; what to do next."""

    what: str
    facts: list[tuple[str, str]]
    log: list[str]
    next: list[str]


@dataclass(frozen=True, slots=True)
class RunPage:
    """A run."""

    line: RunLine
    ended: bool
    note: str
    trouble: Trouble | None
    facts: list[tuple[str, str]]
    charts: list[CurveChart]
    samples: list[SampleCard]
    sample_total: int
    checkpoints: list[tuple[str, str, str, str]]  # step, loss, size, mark
    warnings: list[str] = field(default_factory=list)
    warning_total: int = 0


def run_line(run: RunSummary, now: float) -> RunLine:
    """A run in the list."""
    view = run.view
    total, at_work = view.total_steps, run.state in (RunState.RUNNING, RunState.QUEUED)
    detail = one_line(f"{view.phase or ''} {view.phase_detail or ''}", limit=_MAX_LINE) if at_work else ""
    left = view.eta_seconds(now) if run.state is RunState.RUNNING else None
    return RunLine(
        id=run.id,
        title=_text(run.name or run.id, _MAX_NAME),
        state=run.state.value,
        state_text=f"{run.state.glyph} {run.state_text}",
        model=_text(run.spec.get("base_model") or UNKNOWN, _MAX_NAME),
        steps=f"{view.step:,} / {total:,}" if total else f"{view.step:,}",
        percent=round(100 * min(view.step / total, 1), 1) if total else None,
        loss=_number(view.loss),
        time=f"{_duration(left)} left" if left is not None else _duration(run.elapsed_seconds(now)),
        created=_moment(view.created_at),
        tags=[_text(tag, 40) for tag in run.annotations.tags],
        detail=_text(run.problem, _MAX_LINE) if run.problem else detail,
    )


def run_page(run: RunSummary, paths: AllowedPaths, now: float | None = None) -> RunPage:
    """Everything about a run. Texts that may have paths of this machine in them lose those outside the roots."""
    view, now = run.view, time.time() if now is None else now
    samples = list(view.samples)
    return RunPage(
        line=run_line(run, now),
        ended=run.state.ended,
        note=printable(run.annotations.note, limit=_MAX_BLOCK),
        trouble=_trouble(run, paths),
        facts=_facts(run, now),
        charts=_charts(run),
        samples=[
            SampleCard(
                sample.step,
                sample.row,
                _block(sample.prompt),
                None if sample.expected is None else _block(sample.expected),
                _block(sample.answer),
            )
            for sample in reversed(samples[-_MAX_SAMPLES:])
        ],
        sample_total=len(samples),
        checkpoints=[
            (f"{saved.step:,}", _number(saved.eval_loss), _size(saved.bytes), "best" if saved.best else "")
            for saved in reversed(view.checkpoints[-_MAX_CHECKPOINTS:])
        ],
        warnings=[_warning(item, paths) for item in list(view.warnings)[-_MAX_WARNINGS:]],
        warning_total=view.warning_count,
    )


def _facts(run: RunSummary, now: float) -> list[tuple[str, str]]:
    view, spec, latest = run.view, run.spec, run.view.latest_step
    dataset = spec.get("dataset")
    best = view.best
    facts: list[tuple[str, Any]] = [
        ("base model", spec.get("base_model")),
        ("dataset", ", ".join(map(str, dataset)) if isinstance(dataset, list | tuple) else dataset),
        ("result", spec.get("output_dir")),
        ("step", run_line(run, now).steps),
        ("epoch", _known_number(latest.get("epoch"))),
        ("loss", _known_number(view.loss)),
        ("time", _duration(run.elapsed_seconds(now))),
        ("created", _moment(view.created_at)),
        ("ended", _moment(view.ended_at) if view.ended_at else None),
        ("best step", best and f"{best.step:,}"),
        ("host", view.host),
        ("id", run.id),
    ]
    return [(name, _text(value, _MAX_LINE)) for name, value in facts if value not in (None, "", UNKNOWN)]


def _charts(run: RunSummary) -> list[CurveChart]:
    series = run.view.series
    evaluations = [(item.step, item.loss) for item in run.view.evals]
    gib = float(1 << 30)
    memory = series.device_memory if any(value == value for value in series.device_memory) else series.host_memory
    made = [
        make_chart("loss", series.steps, series.loss, marks=evaluations, marks_title="held-out rows"),
        make_chart("learning rate", series.steps, series.learning_rate),
        make_chart("gradient norm", series.steps, series.grad_norm),
        make_chart("tokens per second", series.steps, series.tokens_per_second),
        make_chart("memory, GiB", series.steps, memory, scale=gib),
    ]
    return [chart for chart in made if chart is not None]


def _trouble(run: RunSummary, paths: AllowedPaths) -> Trouble | None:
    outcome = describe_outcome(run.folder, run.view, run.state)
    if outcome is None:
        return Trouble(_text(paths.redact(run.problem), _MAX_LINE), [], [], []) if run.problem else None
    return Trouble(
        _block(paths.redact(outcome.what)),
        [(_text(name, 40), _block(paths.redact(text))) for name, text in outcome.facts],
        [printable(paths.redact(line), limit=_MAX_LINE) for line in outcome.log],
        [_text(paths.redact(line), _MAX_LINE) for line in outcome.next],
    )


def _warning(item: Any, paths: AllowedPaths) -> str:
    parts = [item.where, item.what, item.why, item.hint]
    times = f" ({item.times} times)" if item.times > 1 else ""
    return _text(paths.redact(": ".join(part for part in parts if part)), _MAX_LINE) + times


def counts_of(runs: Sequence[RunSummary]) -> list[tuple[str, int]]:
    """How many runs there are in each state, those at work first; states without runs are left out."""
    order = (RunState.RUNNING, RunState.QUEUED, *(state for state in RunState if state.ended), RunState.CREATED)
    counted = [(state.label, sum(run.state is state for run in runs)) for state in order]
    return [(label, count) for label, count in counted if count]


def _text(value: Any, limit: int) -> str:
    return one_line(str(value), limit=limit)


def _block(text: str) -> str:
    return printable(text.strip("\n"), limit=_MAX_BLOCK)


def _number(value: Any) -> str:
    return UNKNOWN if value is None else f"{to_float(value):.4g}"


def _known_number(value: Any) -> str | None:
    return None if value is None else _number(value)


def _size(count: int) -> str:
    return format_gib(count) if count >= 1 << 30 else f"{count / 2**20:,.1f} MiB"


def _duration(seconds: float | None) -> str:
    """1:02:03, 2:03, or a dash."""
    if seconds is None or seconds != seconds:
        return UNKNOWN
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _moment(t: float | None) -> str:
    return UNKNOWN if t is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(t))

"""Lines about a run, shared by `runs show`, `runs watch` and `train-vision`.

Everything returned is safe to print: text from outside has been through `printable`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from mg_tui.core.events import Event
from mg_tui.core.program import runnable
from mg_tui.core.text import one_line, pluralize, printable
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.outcome import Outcome, describe_outcome
from mg_tui.runs.records import read_scores
from mg_tui.runs.series import to_float
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView

UNKNOWN: Final = "—"
_MAX_LINE: Final = 400


def format_duration(seconds: float | None) -> str:
    """`1:02:03`, `2:03`, or a dash when not known."""
    if seconds is None or seconds != seconds:
        return UNKNOWN
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_bytes(count: float | None) -> str:
    """Bytes with a binary unit: `512 B`, `1.5 KiB`, `9.5 GiB`."""
    if count is None or count != count:
        return UNKNOWN
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def format_number(value: Any) -> str:
    """A number to four significant digits; a dash for None."""
    if value is None:
        return UNKNOWN
    number = to_float(value)
    return f"{number:.4g}" if number == number else "nan"


def format_progress(view: RunView) -> str:
    """`12/300`, or `12` while the total is not known."""
    return f"{view.step}/{view.total_steps}" if view.total_steps is not None else str(view.step)


def format_step(view: RunView, now: float) -> str:
    """The newest step in one line."""
    seconds = to_float(view.latest_step.get("seconds"))
    pace = f"  {seconds:.2f} s/step" if seconds == seconds else ""
    loss, learning_rate = (format_number(view.latest_step.get(name)) for name in ("loss", "learning_rate"))
    eta = format_duration(view.eta_seconds(now))
    return f"step {format_progress(view)}  loss {loss}  lr {learning_rate}{pace}  ETA {eta}"


def format_event(event: Event) -> str | None:
    """One line for an event that is shown above a progress bar; None for the other kinds."""
    formatter = _FORMATTERS.get(event.kind)
    return None if formatter is None else one_line(formatter(event.data), limit=_MAX_LINE)


def format_outcome(folder: RunFolder, view: RunView, state: RunState) -> list[str]:
    """How a run ended and what to do next; empty while it has not ended."""
    if state is RunState.FINISHED:
        result = str(view.result.get("result") or "")
        seconds = view.elapsed_seconds(view.ended_at or 0.0)
        lines = [f"finished: {view.step} steps in {format_duration(seconds)}"]
        return [*lines, f"result: {printable(result)}"] if result else lines
    if state is RunState.STOPPED:
        path, by = view.result.get("checkpoint"), view.result.get("by")
        checkpoint = f"checkpoint {printable(str(path))}" if path else "no checkpoint"
        took = view.result.get("checkpoint_seconds")
        checkpoint += f", whole {took:.1f} s after the request" if path and isinstance(took, int | float) else ""
        line = f"stopped at step {view.step}" + (f" by {printable(str(by))}" if by else "") + f"; {checkpoint}"
        return [line, *([_resume_hint(folder)] if path else [])]
    outcome = describe_outcome(folder, view, state)
    return [] if outcome is None else _outcome_lines(outcome)


def _outcome_lines(outcome: Outcome) -> list[str]:
    """What happened, the facts, the last lines of the log, and what to try."""
    lines = [printable(outcome.what)]
    lines += [f"  {label + ':':<12}{printable(text)}" for label, text in outcome.facts]
    lines += [f"  {'log:' if n == 0 else '':<12}{one_line(line, limit=160)}" for n, line in enumerate(outcome.log)]
    lines += [f"  {'try:' if n == 0 else '':<12}{printable(runnable(line))}" for n, line in enumerate(outcome.next)]
    return lines


def _resume_hint(folder: RunFolder) -> str:
    return runnable(f"  resume: model-garden runs resume {folder.id}")


def format_message(what: Any, **more: Any) -> str:
    """A sentence followed by its where, why and hint, as far as they are set."""
    parts = [str(what or "")] + [f"{label}: {value}" for label, value in more.items() if value]
    return "; ".join(parts)


def _format_phase(data: Mapping[str, Any]) -> str:
    detail = data.get("detail")
    return f"{data.get('name')}" + (f": {detail}" if detail else "")


def _format_plan(data: Mapping[str, Any]) -> str:
    counts = ((data.get(name), name.removesuffix("s")) for name in ("examples", "steps"))
    return "plan: " + ", ".join(pluralize(n, noun) if isinstance(n, int) else f"{n} {noun}s" for n, noun in counts)


def _format_eval(data: Mapping[str, Any]) -> str:
    scores = {"loss": data.get("loss"), **read_scores(data.get("metrics"))}
    return f"evaluation at step {data.get('step')}: {format_scores(scores)}"


def format_scores(scores: Mapping[str, Any]) -> str:
    """Scores by metric on one line."""
    return ", ".join(f"{one_line(name, limit=40)} {format_number(score)}" for name, score in scores.items())


def _format_checkpoint(data: Mapping[str, Any]) -> str:
    return f"checkpoint at step {data.get('step')} ({format_bytes(data.get('bytes'))})"


def _format_warning(data: Mapping[str, Any]) -> str:
    return "warning: " + format_message(
        data.get("what"), where=data.get("where"), why=data.get("why"), **{"try": runnable(str(data.get("hint") or ""))}
    )


_FORMATTERS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "phase": _format_phase,
    "plan": _format_plan,
    "eval": _format_eval,
    "checkpoint": _format_checkpoint,
    "warning": _format_warning,
    "decision": lambda data: f"chose {data.get('what')}: {data.get('value')} ({data.get('why')})",
    "rows_skipped": lambda data: f"warning: {data.get('count')} rows skipped; see {data.get('file')}",
    "request": lambda data: f"{data.get('request')} requested by {data.get('by')}",
    "started": lambda data: (
        f"resumed from step {data.get('resumed_from')}" if data.get("resumed_from") is not None else "started"
    ),
}

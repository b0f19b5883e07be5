"""How a run ended and what to do next, from its journal, its log and the record of its current step.

Texts may contain arbitrary characters of rows, file names and errors: front ends make them printable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mg_tui.core.text import first_few, format_gib
from mg_tui.runs.checkpoint_format import UNFINISHED_PREFIX
from mg_tui.runs.current_step import read_current_step
from mg_tui.runs.elsewhere import lifetime_of, wait_for_log
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView
from mg_tui.runs.worker_log import read_tail, strip_terminal_codes

_LOG_LINES: Final = 4
_MAX_ROWS, _MAX_IMAGES = 12, 4  # listed; the rest is counted


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened, in one line; facts (label, text); the last log lines; next steps, one line or command each."""

    what: str
    facts: tuple[tuple[str, str], ...] = ()
    log: tuple[str, ...] = ()
    next: tuple[str, ...] = ()


def describe_outcome(folder: RunFolder, view: RunView, state: RunState) -> Outcome | None:
    """The outcome of a failed, crashed or interrupted run; None for a run in any other state."""
    match state:
        case RunState.FAILED:
            return _failed_outcome(folder, view)
        case RunState.CRASHED:
            return _crashed_outcome(folder, view)
        case RunState.INTERRUPTED:
            facts = _known_facts(
                ("why", view.interruption_reason(lifetime_of(folder))), ("checkpoint", _describe_checkpoints(view))
            )
            return Outcome(f"interrupted at step {view.step}", facts, next=_resume_command(folder, view))
    return None


def _failed_outcome(folder: RunFolder, view: RunView) -> Outcome:
    error = view.error
    what = str(error.get("what") or error.get("error") or "no reason")
    step, rows = error.get("step"), _as_list(error.get("rows"))
    if not step:
        place = "failed before the first step"
    else:
        place = "failed" if f"step {step}" in what else f"failed at step {step}"
    facts = _known_facts(
        ("where", None if rows and str(error.get("where", "")).startswith("step ") else error.get("where")),
        ("rows", first_few(rows, _MAX_ROWS)),
        ("images", first_few(_as_list(error.get("images")), _MAX_IMAGES)),
        ("why", error.get("why")),
        ("checkpoint", _describe_checkpoints(view)),
    )
    reported = {line.strip() for line in what.splitlines()}
    log = tuple(line for line in _log_lines(folder) if line.strip() not in reported)
    hint = (f"{error['hint']}",) if error.get("hint") else ()
    return Outcome(f"{place}: {what}", facts, log, (*hint, *_commands_after_failure(folder, view)))


def _commands_after_failure(folder: RunFolder, view: RunView) -> tuple[str, ...]:
    """Commands. A step that failed deterministically fails again, so the options have to change."""
    again = f"model-garden runs rerun {folder.id}"
    spec = _spec_values(folder)
    match view.error.get("cause"):
        case "not finite" if isinstance(rate := spec.get("learning_rate"), int | float):
            return (f"{again} --learning-rate {rate / 3:.1g}",)
        case "no memory" if isinstance(pixels := spec.get("max_pixels"), int):
            return (f"{again} --max-pixels {max(pixels // 2, 784)}",)
        case "not finite" | "no memory" | "nothing to learn":
            return (again,)
    return _resume_command(folder, view) if view.checkpoints else (again,)


def _crashed_outcome(folder: RunFolder, view: RunView) -> Outcome:
    doing = read_current_step(folder)
    facts: tuple[tuple[str, str], ...] = ()
    if list(folder.checkpoints_dir.glob(f"{UNFINISHED_PREFIX}*")):
        what = f"crashed while writing a checkpoint after step {view.step}"
    elif doing is not None and doing.step == view.step + 1:
        what = f"crashed during step {doing.step}"
        facts = _known_facts(
            ("rows", first_few(doing.rows, _MAX_ROWS)), ("images", first_few(doing.images, _MAX_IMAGES))
        )
    elif view.step:
        what = f"crashed after step {view.step}"
    else:
        what = "crashed before the first step" + (f", while {view.phase}" if view.phase else "")
    facts += _known_facts(
        ("why", "the process died without an error: killed, out of memory, or power loss"),
        ("memory", _describe_memory(view)),
        ("checkpoint", _describe_checkpoints(view)),
    )
    kernel = "sudo dmesg | grep -i 'killed process'   (shows whether the kernel killed it for lack of memory)"
    return Outcome(what, facts, _log_lines(folder), (*_resume_command(folder, view), kernel))


def _resume_command(folder: RunFolder, view: RunView) -> tuple[str, ...]:
    return (f"model-garden runs resume {folder.id}" + ("" if view.checkpoints else " --from-start"),)


def _describe_checkpoints(view: RunView) -> str | None:
    if not view.checkpoints:
        return "none"
    newest = view.checkpoints[-1].step
    best = f"; the best is step {view.best.step}" if view.best is not None and view.best.step != newest else ""
    return f"latest: step {newest}{best}"


def _describe_memory(view: RunView) -> str | None:
    used = view.latest_step.get("host_memory")
    return f"{format_gib(used)} in use at the last step" if isinstance(used, int) else None


def _log_lines(folder: RunFolder) -> tuple[str, ...]:
    wait_for_log(folder)
    lines = [strip_terminal_codes(line) for line in read_tail(folder.log_file, 10 * _LOG_LINES)]
    return tuple(line for line in lines if line.strip())[-_LOG_LINES:]


def _as_list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _known_facts(*pairs: tuple[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((label, str(value)) for label, value in pairs if value)


def _spec_values(folder: RunFolder) -> Mapping[str, Any]:
    from mg_tui.core.errors import UsageError

    try:
        return folder.spec_values()
    except UsageError:
        return {}

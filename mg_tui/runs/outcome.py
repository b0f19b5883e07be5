"""How a run ended and what to do next, for people: found in its journal, its log and the note of its last step.

Texts may hold whatever rows, file names and errors hold: a face makes them printable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mg_tui.runs.doing import read_doing
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lifetime import here
from mg_tui.runs.log import clean, tail
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView

_LOG_LINES: Final = 4
_ROWS, _IMAGES = 12, 4  # named; the rest is counted
_UNFINISHED: Final = ".writing-"  # of a checkpoint: see `mg_tui.engine.guard.checkpoint`


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened in a line; facts (label, text); the last lines of the log; what to try, a line or command each."""

    what: str
    facts: tuple[tuple[str, str], ...] = ()
    log: tuple[str, ...] = ()
    next: tuple[str, ...] = ()


def outcome(folder: RunFolder, view: RunView, state: RunState) -> Outcome | None:
    """Of a run that has not ended well; None while it goes on, and when it finished or was stopped."""
    match state:
        case RunState.FAILED:
            return _failed(folder, view)
        case RunState.CRASHED:
            return _crashed(folder, view)
        case RunState.INTERRUPTED:
            facts = _pairs(("why", view.interrupted(here())), ("checkpoint", _newest(view)))
            return Outcome(f"interrupted at step {view.step}", facts, next=_go_on(folder, view))
    return None


def _failed(folder: RunFolder, view: RunView) -> Outcome:
    error = view.error
    what = str(error.get("what") or error.get("error") or "no reason")
    step, rows = error.get("step"), _listed(error.get("rows"))
    if not step:
        place = "failed before the first step"
    else:
        place = "failed" if f"step {step}" in what else f"failed at step {step}"
    facts = _pairs(
        ("where", None if rows and str(error.get("where", "")).startswith("step ") else error.get("where")),
        ("rows", _some(rows, _ROWS)),
        ("images", _some(_listed(error.get("images")), _IMAGES)),
        ("why", error.get("why")),
        ("checkpoint", _newest(view)),
    )
    said = {line.strip() for line in what.splitlines()}
    log = tuple(line for line in _log(folder) if line.strip() not in said)
    hint = (f"{error['hint']}",) if error.get("hint") else ()
    return Outcome(f"{place}: {what}", facts, log, (*hint, *_after_failure(folder, view)))


def _after_failure(folder: RunFolder, view: RunView) -> tuple[str, ...]:
    """Commands. A step that failed by itself fails again when it is done again, so the options have to be others."""
    again = f"model-garden runs rerun {folder.id}"
    spec = _spec(folder)
    match view.error.get("cause"):
        case "not finite" if isinstance(rate := spec.get("learning_rate"), int | float):
            return (f"{again} --learning-rate {rate / 3:.1g}",)
        case "no memory" if isinstance(pixels := spec.get("max_pixels"), int):
            return (f"{again} --max-pixels {max(pixels // 2, 784)}",)
        case "not finite" | "no memory" | "nothing to learn":
            return (again,)
    return _go_on(folder, view) if view.checkpoints else (again,)


def _crashed(folder: RunFolder, view: RunView) -> Outcome:
    doing = read_doing(folder)
    facts: tuple[tuple[str, str], ...] = ()
    if list(folder.checkpoints_dir.glob(f"{_UNFINISHED}*")):
        what = f"crashed after step {view.step}, while a checkpoint was written"
    elif doing is not None and doing.step == view.step + 1:
        what = f"crashed during step {doing.step}"
        facts = _pairs(("rows", _some(doing.rows, _ROWS)), ("images", _some(doing.images, _IMAGES)))
    elif view.step:
        what = f"crashed after step {view.step}"
    else:
        what = "crashed before the first step" + (f", while {view.phase}" if view.phase else "")
    facts += _pairs(
        ("why", "its process died without a word: killed, out of memory, or the power was cut"),
        ("memory", _memory(view)),
        ("checkpoint", _newest(view)),
    )
    kernel = "sudo dmesg | grep -i 'killed process'   (says whether the kernel killed it for its memory)"
    return Outcome(what, facts, _log(folder), (*_go_on(folder, view), kernel))


def _go_on(folder: RunFolder, view: RunView) -> tuple[str, ...]:
    return (f"model-garden runs resume {folder.id}" + ("" if view.checkpoints else " --from-start"),)


def _newest(view: RunView) -> str | None:
    if not view.checkpoints:
        return "none"
    newest = view.checkpoints[-1].step
    best = f"; the best is step {view.best.step}" if view.best is not None and view.best.step != newest else ""
    return f"the newest is step {newest}{best}"


def _memory(view: RunView) -> str | None:
    used = view.latest.get("host_memory")
    return f"{used / 2**30:.1f} GiB were in use by it at its last step" if isinstance(used, int) else None


def _log(folder: RunFolder) -> tuple[str, ...]:
    lines = [clean(line) for line in tail(folder.log_file, 10 * _LOG_LINES)]
    return tuple(line for line in lines if line.strip())[-_LOG_LINES:]


def _some(items: Sequence[Any], shown: int) -> str | None:
    if not items:
        return None
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(map(str, items[:shown])) + more


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _pairs(*pairs: tuple[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((label, str(value)) for label, value in pairs if value)


def _spec(folder: RunFolder) -> Mapping[str, Any]:
    from mg_tui.core.errors import UsageError

    try:
        return folder.spec_values()
    except UsageError:
        return {}

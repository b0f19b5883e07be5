"""Whether and from where a run can resume, as its worker will: of the checkpoints that are undamaged."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mg_tui.config import load_settings
from mg_tui.core.errors import EnvironmentProblem, RunFailed, UsageError
from mg_tui.core.files import write_atomic
from mg_tui.runs import checkpoint_format
from mg_tui.runs.cost import compute_cost, require_price
from mg_tui.runs.elsewhere import elsewhere_of
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.output_folder import check_resumed_output
from mg_tui.runs.spec_check import accept_spec as write_accepted_spec
from mg_tui.runs.spec_check import change_spec, require_unchanged_spec
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView
from mg_tui.runs.watch import RunWatch

_RESUME_FILE: Final = "resume.json"


@dataclass(frozen=True, slots=True)
class ResumeTarget:
    """A run that can be resumed.

    Attributes:
        folder: the run.
        step: of the checkpoint to resume from; None for the beginning.
        last_step: the last step it completed: steps after the checkpoint are repeated.
        attempts: how often it has been started.
        removed_steps: steps of later checkpoints, which are removed on resume.
        changed: values of options that it resumes with instead of those of the spec.
    """

    folder: RunFolder
    step: int | None
    last_step: int
    attempts: int
    removed_steps: tuple[int, ...] = ()
    changed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """Where it resumes, in words."""
        if self.step is None:
            return "from step 0 (no checkpoint)"
        again = self.last_step - self.step
        text = f"from the checkpoint at step {self.step}"
        if again > 0:
            text += f"; {again} step{'s' if again != 1 else ''} will be repeated"
        if self.removed_steps:
            text += f"; later checkpoints (step {', '.join(map(str, self.removed_steps))}) are deleted"
        return text


def find_resume_target(
    folder: RunFolder,
    *,
    from_start: bool = False,
    at: str | None = None,
    accept_spec: bool = False,
    output_dir: Path | None = None,
    max_cost: float | None = None,
) -> ResumeTarget:
    """Find the checkpoint a run would resume from.

    Args:
        folder: the run.
        from_start: whether a run without a checkpoint may restart from step 0.
        at: the step of an earlier checkpoint, or `best`; by default the newest.
        accept_spec: whether a changed spec.json is used as it is now.
        output_dir: another folder for the result than the spec has; absolute.
        max_cost: another limit of the cost of all attempts together than the spec has.

    Raises:
        UsageError: it is running, queued or finished, its spec cannot be read or was changed, there is no such
            checkpoint, its output folder cannot be used, or it has cost what it may.
    """
    folder = RunFolder(folder.path.absolute())
    watch = RunWatch(folder)
    watch.refresh()
    state, view, run = watch.state, watch.view, folder.id
    if state is RunState.RUNNING:
        raise UsageError(f"Run {run} is running.", hint=f"model-garden runs watch {run}")
    if state is RunState.QUEUED:
        raise UsageError(f"Run {run} is already queued.", hint="model-garden runs queue")
    if state is RunState.FINISHED:
        raise UsageError(f"Run {run} is already finished.", hint=f"model-garden runs rerun {run}")
    if elsewhere_of(folder) is not None:
        return _journaled_target(folder, view, at)
    spec = folder.read_spec()
    if not accept_spec:
        require_unchanged_spec(folder, view.spec_digest, view.spec_values)
    if (output := output_dir or (Path(spec.output_dir) if spec.output_dir else None)) is not None:
        check_resumed_output(folder, output, folder.home)
    _require_budget(folder, view, spec.max_cost if max_cost is None else max_cost)
    changed = {"output_dir": None if output_dir is None else str(output_dir), "max_cost": max_cost}
    changed = {name: value for name, value in changed.items() if value is not None}
    if at is not None:
        return replace(_target_at(folder, view, at), changed=changed)
    newest = newest_checkpoint(folder)
    if newest is None and not from_start:
        raise UsageError(
            f"Run {run} has no valid checkpoint to resume from.",
            where=str(folder.checkpoints_dir),
            hint=f"restart it from step 0 with `model-garden runs resume {run} --from-start`",
        )
    return ResumeTarget(folder, newest and newest[0], view.step, view.attempt, changed=changed)


def _require_budget(folder: RunFolder, view: RunView, max_cost: float | None) -> None:
    """Refuse to resume a run that would stop again after its first step, because it has cost what it may."""
    if max_cost is None:
        return
    prices = load_settings(home=folder.home).cost
    require_price(prices)
    # A worker that was killed has written no end: it lasted until its last event.
    seconds = view.elapsed_seconds(view.last_time or 0.0)
    cost = compute_cost(view.energy_j, view.gpu_seconds, prices, seconds)
    if cost.money is not None and cost.money >= max_cost:
        raise UsageError(
            f"Run {folder.id} has cost {cost.formatted_money}, and may cost {max_cost:,.2f}.",
            hint=f"allow more for all of it: model-garden runs resume {folder.id} --max-cost {2 * cost.money:.2f}",
        )


def _journaled_target(folder: RunFolder, view: RunView, at: str | None) -> ResumeTarget:
    """The checkpoint of a run elsewhere, as far as its journal says: that machine checks it when the run resumes."""
    steps = [saved.step for saved in view.checkpoints]
    hint = f"available: {', '.join(map(str, steps))}" if steps else "it has no checkpoint"
    if at == "best":
        step = view.best.step if view.best is not None else None
    else:
        step = int(at) if at is not None and at.isdecimal() else None
    if at is None:
        return ResumeTarget(folder, steps[-1] if steps else None, view.step, view.attempt)
    if step not in steps:
        raise UsageError(f"Run {folder.id} has no checkpoint {at!r}.", hint=hint)
    return ResumeTarget(folder, step, view.step, view.attempt, tuple(later for later in steps if later > (step or 0)))


def commit_resume_target(target: ResumeTarget, *, accept_spec: bool = False, by: str = "") -> None:
    """Write what a run resumes from, for its worker. Only with the run's lock held.

    With `accept_spec`, a changed spec.json counts as it is now, on the word of `by`.

    Raises:
        RunFailed: the run was started or queued since the target was found.
        EnvironmentProblem: it cannot be written.
    """
    watch = RunWatch(target.folder)
    watch.refresh()
    if watch.view.attempt != target.attempts or watch.view.lifecycle == "queued":
        raise RunFailed(
            f"Run {target.folder.id} was resumed by somebody else meanwhile.",
            hint=f"model-garden runs watch {target.folder.id}",
        )
    if accept_spec:
        write_accepted_spec(target.folder, by)
    if target.changed:
        change_spec(target.folder, target.changed, by)
    write_resume_target(target.folder, target)


def write_resume_target(folder: RunFolder, target: ResumeTarget) -> None:
    """Save for the worker which checkpoint to resume from, unless it is the newest.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    path = folder.path / _RESUME_FILE
    try:
        if target.removed_steps:
            write_atomic(path, (json.dumps({"step": target.step}) + "\n").encode())
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentProblem("The run folder is not writable.", where=str(path), why=error.strerror) from error


def read_resume_step(folder: RunFolder) -> int | None:
    """The step of the checkpoint to resume from, or None for the newest."""
    try:
        return int(json.loads((folder.path / _RESUME_FILE).read_bytes())["step"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def clear_resume_target(folder: RunFolder) -> None:
    """Remove the resume target, after later checkpoints have been removed."""
    with contextlib.suppress(OSError):
        (folder.path / _RESUME_FILE).unlink(missing_ok=True)


def newest_checkpoint(folder: RunFolder) -> tuple[int, Path] | None:
    """The step and folder of the newest undamaged checkpoint: the one that a worker would resume from.

    Reads every byte of it.
    """
    with contextlib.suppress(OSError):
        newest, _damaged = checkpoint_format.newest_valid(folder.checkpoints_dir)
        return None if newest is None else (checkpoint_format.step_of(newest) or 0, newest)
    return None


def _target_at(folder: RunFolder, view: RunView, at: str) -> ResumeTarget:
    steps = [step for step, _path in _complete_checkpoints(folder)]
    hint = f"available: {', '.join(map(str, steps))}" if steps else "no valid checkpoint"
    if at == "best":
        if view.best is None:
            raise UsageError(f"Run {folder.id} has no best checkpoint: none was evaluated.", hint=hint)
        step = view.best.step
    elif at.isdecimal():
        step = int(at)
    else:
        raise UsageError(f"from: got {at!r}; expected best or a checkpoint step", hint=hint)
    if step not in steps:
        raise UsageError(f"Run {folder.id} has no valid checkpoint at step {step}.", hint=hint)
    problem = checkpoint_format.find_problem(checkpoint_format.folder_of(folder.checkpoints_dir, step))
    if problem is not None:
        raise UsageError(f"The checkpoint at step {step} of run {folder.id} is damaged.", why=problem, hint=hint)
    every_step = (checkpoint_format.step_of(path) or 0 for path in _checkpoint_folders(folder))
    return ResumeTarget(folder, step, view.step, view.attempt, tuple(later for later in every_step if later > step))


def _complete_checkpoints(folder: RunFolder) -> list[tuple[int, Path]]:
    # By size, which is fast: there may be many, and the one that is chosen is checked.
    return [
        (checkpoint_format.step_of(path) or 0, path)
        for path in _checkpoint_folders(folder)
        if checkpoint_format.find_problem(path, contents=False) is None
    ]


def _checkpoint_folders(folder: RunFolder) -> list[Path]:
    with contextlib.suppress(OSError):
        return checkpoint_format.list_checkpoints(folder.checkpoints_dir)
    return []

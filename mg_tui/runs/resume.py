"""Whether and from where a run can go on, for faces: quick, without the engine, which checks every byte itself."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mg_tui.core.errors import UsageError
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.watch import RunWatch

_MANIFEST: Final = "checkpoint.json"
_PREFIX: Final = "step-"


@dataclass(frozen=True, slots=True)
class Resumption:
    """A run that can go on.

    Attributes:
        folder: the run.
        step: of the checkpoint it goes on from; None for the beginning.
        reached: the step it had come to: steps after the checkpoint are done again.
        attempts: how often it was started so far.
    """

    folder: RunFolder
    step: int | None
    reached: int
    attempts: int

    @property
    def said(self) -> str:
        """Where it goes on, in words."""
        if self.step is None:
            return "from the beginning: there is no checkpoint"
        again = self.reached - self.step
        return f"from the checkpoint of step {self.step}" + (
            f"; {again} step{'s' if again != 1 else ''} after it {'are' if again != 1 else 'is'} done again"
            if again > 0
            else ""
        )


def resumable(folder: RunFolder, *, from_start: bool = False) -> Resumption:
    """What going on with a run would mean.

    Args:
        folder: the run.
        from_start: whether a run without a checkpoint may begin anew.

    Raises:
        UsageError: it is alive, queued, finished, its spec cannot be read, or there is nothing to go on from.
    """
    folder = RunFolder(folder.path.absolute())
    watch = RunWatch(folder)
    watch.refresh()
    state, view, run = watch.state, watch.view, folder.id
    if state is RunState.RUNNING:
        raise UsageError(f"Run {run} is running.", hint=f"model-garden runs watch {run}")
    if state is RunState.QUEUED:
        raise UsageError(f"Run {run} is queued and will start by itself.", hint="model-garden runs queue")
    if state is RunState.FINISHED:
        raise UsageError(f"Run {run} is finished: nothing is left to do.", hint=f"model-garden runs rerun {run}")
    folder.read_spec()
    found = newest_checkpoint(folder)
    if found is None and not from_start:
        raise UsageError(
            f"Run {run} has nothing to go on from: there is no whole checkpoint.",
            where=str(folder.checkpoints_dir),
            hint=f"begin anew in the same run with `model-garden runs resume {run} --from-start`",
        )
    return Resumption(folder, found and found[0], view.step, view.attempt)


def newest_checkpoint(folder: RunFolder) -> tuple[int, Path] | None:
    """The step and folder of the newest checkpoint whose files have the sizes they were written with."""
    try:
        names = sorted((path for path in folder.checkpoints_dir.iterdir() if _step(path) is not None), key=_step)  # type: ignore[arg-type]
    except OSError:
        return None
    return next(((_step(path) or 0, path) for path in reversed(names) if _looks_whole(path)), None)


def _step(path: Path) -> int | None:
    digits = path.name.removeprefix(_PREFIX)
    return int(digits) if path.name.startswith(_PREFIX) and digits.isdecimal() else None


def _looks_whole(path: Path) -> bool:
    try:
        files = json.loads((path / _MANIFEST).read_bytes())["files"]
        return all((path / name).stat().st_size == facts["bytes"] for name, facts in files.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False

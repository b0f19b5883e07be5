"""A checkpoint of a run by name: RUN@120, RUN@best, RUN@last or RUN/checkpoints/step-000120."""

import re
from pathlib import Path
from typing import Final

from mg_tui.core.errors import UsageError
from mg_tui.core.paths import expand_user
from mg_tui.runs import checkpoint_format
from mg_tui.runs.resume import newest_checkpoint
from mg_tui.runs.store import find_run, summarize_run

_REFERENCE: Final = re.compile(r"(?P<run>[^/@]+)(?:@(?P<at>\d{1,9}|best|last)|/checkpoints/step-(?P<step>\d{1,9}))/?")


def find_checkpoint(model: str, home: Path) -> Path | None:
    """The folder of the checkpoint that `model` names; None when it has not the form of such a name, or is a folder.

    Raises:
        UsageError: there is no such run or checkpoint; the message lists those there are.
    """
    matched = _REFERENCE.fullmatch(model)
    if matched is None or expand_user(model).is_dir():
        return None
    run = find_run(home, matched["run"])
    folders = checkpoint_format.list_checkpoints(run.checkpoints_dir)
    steps = {step: path for path in folders if (step := checkpoint_format.step_of(path)) is not None}
    at = matched["at"] or matched["step"]
    if at == "last":
        newest = newest_checkpoint(run)
        step = newest[0] if newest is not None else None
    elif at == "best":
        best = summarize_run(run).view.best
        step = best.step if best is not None else None
    else:
        step = int(at)
    if step is None or step not in steps:
        raise UsageError(
            f"run {run.id} has no checkpoint {at!r}",
            where=str(run.checkpoints_dir),
            hint="there is " + ", ".join(f"{run.id}@{known}" for known in sorted(steps)) if steps else None,
        )
    return steps[step]

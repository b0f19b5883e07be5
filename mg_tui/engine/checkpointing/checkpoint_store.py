"""Writes a run's checkpoints, remembers the best one, and removes those beyond the limit."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mg_tui.engine.checkpointing import writer
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter


class CheckpointStore:
    """Writes a run's checkpoints, records them in the journal, and removes those beyond the limit.

    With `keep_best`, `best` is the checkpoint with the lowest evaluation loss, and it is never removed. The loss is
    stored in the checkpoint itself, so that it is known after a resume.
    """

    def __init__(
        self,
        folder: RunFolder,
        journal: JournalWriter,
        *,
        keep: int,
        about: dict[str, Any],
        needed: int,
        keep_best: bool = False,
    ):
        self.folder = folder
        self.best = checkpoint_format.best_valid(folder.checkpoints_dir) if keep_best else None
        self.last_step: int | None = None
        self._keep_best = keep_best
        self._evaluated: tuple[int, float] | None = None
        self._journal = journal
        self._keep = keep
        self._about = about
        self._expected_bytes = needed

    def record_evaluation(self, step: int, loss: float) -> bool:
        """Record an evaluation; returns whether a checkpoint of this step would be the best."""
        self._evaluated = (step, loss)
        return self._keep_best and math.isfinite(loss) and (self.best is None or loss < self.best.eval_loss)

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Write the checkpoint of `step` unless it exists; `write` writes its files into a folder.

        Raises:
            EnvironmentProblem: the disk is full.
        """
        if step == self.last_step:
            return
        started = time.perf_counter()
        loss = self._evaluated[1] if self._evaluated is not None and self._evaluated[0] == step else None
        is_best = loss is not None and self.record_evaluation(step, loss)
        # JSON has no NaN, and a NaN loss cannot rank a checkpoint.
        evaluated = {} if loss is None or not math.isfinite(loss) else {"eval_loss": loss}
        about = {**self._about, **evaluated}
        with writer.write_checkpoint(self.folder.checkpoints_dir, step, about, needed=self._expected_bytes) as (
            path,
            done,
        ):
            write(path)
        written = done[0]
        self.last_step, self._expected_bytes = step, written.bytes
        if is_best and loss is not None:
            self.best = checkpoint_format.BestCheckpoint(written.path, step, loss)
        self._journal.write(
            "checkpoint",
            step=step,
            path=written.path.relative_to(self.folder.path).as_posix(),
            bytes=written.bytes,
            seconds=round(time.perf_counter() - started, 3),
            **evaluated,
            **({"best": True} if is_best else {}),
        )
        best = self.best.path if self.best is not None else None
        for removed in writer.prune(self.folder.checkpoints_dir, self._keep, best=best):
            self._journal.write(
                "checkpoint_removed",
                step=checkpoint_format.step_of(removed),
                path=removed.relative_to(self.folder.path).as_posix(),
                why=f"the newest {self._keep} are retained" + (", and the best" if best is not None else ""),
            )


def expected_checkpoint_bytes(model: Any) -> int:
    """The expected size of a checkpoint: trained weights in float32 and the optimizer's two moments."""
    return 12 * sum(int(parameter.numel()) for parameter in model.parameters() if parameter.requires_grad)

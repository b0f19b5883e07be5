"""Writes a run's checkpoints, remembers the best one, and removes those beyond the limit."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mg_tui.engine.checkpointing import writer
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter


class CheckpointStore:
    """Writes a run's checkpoints, records them in the journal, and removes those beyond the limit.

    With `best_by`, `best` is the checkpoint whose evaluation has the best score, and it is never removed. The scores
    are stored in the checkpoint itself, so that they are known after a resume.
    """

    def __init__(
        self,
        folder: RunFolder,
        journal: JournalWriter,
        *,
        keep: int,
        about: dict[str, Any],
        needed: int,
        best_by: checkpoint_format.BestBy | None = None,
    ):
        self.folder = folder
        self.best = checkpoint_format.best_valid(folder.checkpoints_dir) if best_by is not None else None
        if self.best is not None and self.best.by != best_by:
            self.best = None  # the run's spec was changed: other scores do not compare
        self.last_step: int | None = None
        self.best_by = best_by
        self._evaluated: tuple[int, Mapping[str, float]] | None = None
        self._journal = journal
        self._keep = keep
        self._about = about
        self._expected_bytes = needed

    def record_evaluation(self, step: int, scores: Mapping[str, float]) -> bool:
        """Record the scores of an evaluation; returns whether a checkpoint of this step would be the best.

        A checkpoint of this step that exists already, because the run stopped before the evaluation, gets its scores.
        """
        self._evaluated = (step, scores)
        facts = checkpoint_format.evaluation_facts(scores, self.best_by)
        if step == self.last_step and facts:
            path = checkpoint_format.folder_of(self.folder.checkpoints_dir, step)
            size = writer.add_to_manifest(path, facts)
            is_best = self._take_best(path, step, scores)
            self._write_event(path, step, bytes=size, seconds=0.0, evaluated=facts, is_best=is_best)
            return is_best
        return self._is_best(scores)

    def _is_best(self, scores: Mapping[str, float]) -> bool:
        by = self.best_by
        return by is not None and by.is_better(scores.get(by.metric), self.best.score if self.best else None)

    def _take_best(self, path: Path, step: int, scores: Mapping[str, float]) -> bool:
        """Remember a checkpoint if it is the best; returns whether it is."""
        by = self.best_by
        if by is None or not self._is_best(scores):
            return False
        metrics = {name: score for name, score in scores.items() if name != checkpoint_format.LOSS}
        loss = scores.get(checkpoint_format.LOSS)
        self.best = checkpoint_format.BestCheckpoint(path, step, loss, scores[by.metric], by, metrics)
        return True

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Write the checkpoint of `step` unless it exists; `write` writes its files into a folder.

        Raises:
            EnvironmentProblem: the disk is full.
        """
        if step == self.last_step:
            return
        started = time.perf_counter()
        scores = self._evaluated[1] if self._evaluated is not None and self._evaluated[0] == step else {}
        evaluated = checkpoint_format.evaluation_facts(scores, self.best_by) if scores else {}
        about = {**self._about, **evaluated}
        with writer.write_checkpoint(self.folder.checkpoints_dir, step, about, needed=self._expected_bytes) as (
            path,
            done,
        ):
            write(path)
        written = done[0]
        self.last_step, self._expected_bytes = step, written.bytes
        is_best = self._take_best(written.path, step, scores)
        seconds = round(time.perf_counter() - started, 3)
        self._write_event(
            written.path, step, bytes=written.bytes, seconds=seconds, evaluated=evaluated, is_best=is_best
        )
        best = self.best.path if self.best is not None else None
        for removed in writer.prune(self.folder.checkpoints_dir, self._keep, best=best):
            self._journal.write(
                "checkpoint_removed",
                step=checkpoint_format.step_of(removed),
                path=removed.relative_to(self.folder.path).as_posix(),
                why=f"the newest {self._keep} are retained" + (", and the best" if best is not None else ""),
            )

    def _write_event(
        self, path: Path, step: int, *, bytes: int, seconds: float, evaluated: dict[str, Any], is_best: bool
    ) -> None:
        self._journal.write(
            "checkpoint",
            step=step,
            path=path.relative_to(self.folder.path).as_posix(),
            bytes=bytes,
            seconds=seconds,
            **evaluated,
            **({"best": True} if is_best else {}),
        )


def expected_checkpoint_bytes(model: Any) -> int:
    """The expected size of a checkpoint: trained weights in float32 and the optimizer's two moments."""
    return 12 * sum(int(parameter.numel()) for parameter in model.parameters() if parameter.requires_grad)

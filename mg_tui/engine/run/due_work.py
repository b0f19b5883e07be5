"""What a step owes besides its weights: its evaluation and its samples.

A worker that is stopped, or killed, may end between a step and these. The next attempt then does them first, with the
weights of the checkpoint it resumes from, so that a stop changes neither the curves nor which checkpoint is the best.
Which are missing is found by comparing what the spec asks for with what the journal and the checkpoint have.
"""

from dataclasses import dataclass

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.monitoring.run_history import RunHistory
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder


@dataclass(frozen=True, slots=True)
class DueWork:
    """What is missing of a step that was done: its evaluation, or its samples."""

    evaluation: bool = False
    samples: bool = False

    def __bool__(self) -> bool:
        return self.evaluation or self.samples


def evaluation_interval(spec: TrainingSpec) -> int:
    """Optimizer steps between two evaluations."""
    return spec.eval_steps or spec.save_steps


def find_due_work(
    folder: RunFolder, spec: TrainingSpec, step: int, total: int, *, evaluates: bool, history: RunHistory
) -> DueWork:
    """What is missing of `step`.

    Args:
        folder: the run.
        spec: the run's spec.
        step: optimizer steps done.
        total: optimizer steps of the run.
        evaluates: whether the run has evaluation examples.
        history: the journal so far.
    """
    if step < 1:
        return DueWork()
    evaluation = evaluates and (step % evaluation_interval(spec) == 0 or step >= total)
    checkpoint = checkpoint_format.folder_of(folder.checkpoints_dir, step)
    manifest = checkpoint_format.read_manifest(checkpoint) if checkpoint.is_dir() else {}
    sampled = evaluation or step % spec.save_steps == 0 or step >= total
    return DueWork(
        evaluation=evaluation and step not in history.evaluations and "eval_loss" not in manifest,
        samples=sampled and spec.sample_count > 0 and step not in history.sampled_steps,
    )

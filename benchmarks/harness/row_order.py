"""The order of the rows: our plan decides it, and the peers, which do not shuffle, are given their rows in it."""

from collections.abc import Sequence
from pathlib import Path

from harness.synthetic_data import DataKind, QuestionRow, read_rows


def ordered_rows(file: Path, kind: DataKind, steps: int, seed: int) -> Sequence[QuestionRow]:
    """The rows of the first `steps` optimizer steps of a run on `file`, across epochs."""
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.engine.batching import rows as dataset_rows
    from mg_tui.engine.run.step_planning import plan_steps

    spec = TrainingSpec(
        base_model="any",
        dataset=str(file),
        batch_size=1,
        gradient_accumulation_steps=kind.per_step,
        seed=seed,
    )
    read = dataset_rows.read_dataset(spec, spec.dataset, cwd=file.parent, cache=file.parent / "none")
    plan = plan_steps(spec, read.examples, spec.examples_per_step)
    rows = read_rows(file)
    return [rows[read.examples[index].row - 1] for step in range(steps) for index in plan.step(step)]

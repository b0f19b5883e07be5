"""Smoke tests: short runs of the tiny model by the engine's worker, in every precision and with every optimizer."""

import shutil
from collections.abc import Callable
from typing import Any

from inputs import small_rows, tiny_checkpoint
from processes import run_forked
from tasks import BenchmarkSetting, TaskReport
from training_runs import TrainingRun, largest_relative_difference, report_run, train

LARGEST_DIFFERENCE = 1e-3  # of losses, relative: CUDA kernels may add in another order


def training_task(**options: Any) -> Callable[[TaskReport, BenchmarkSetting], None]:
    """A task: a few steps with these options of the spec."""

    def run(report: TaskReport, setting: BenchmarkSetting) -> None:
        if options.get("dtype") == "float16" or options.get("optimizer"):
            setting.require_cuda()
        report_run(report, _train_tiny(setting, **options), cuda=not setting.dry)

    return run


def resume_run(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: the losses of a run that is resumed from a checkpoint equal those of the uninterrupted run.

    Raises:
        RuntimeError: they do not.
    """
    steps, saved = (4, 2) if setting.dry else (6, 3)
    options = {"max_steps": steps, "save_steps": saved}
    checkpoint = setting.scratch / "checkpoint-to-resume" / f"step-{saved:06d}"

    def run_all(nested: TaskReport) -> None:
        run = _train_tiny(setting, **options)
        shutil.copytree(next(run.folder.checkpoints_dir.glob(f"step-*{saved}")), checkpoint)
        nested.put(losses=run.losses)

    def run_rest(nested: TaskReport) -> None:
        nested.put(losses=_train_tiny(setting, checkpoint=checkpoint, **options).losses)

    expected = run_forked(run_all, report, "the uninterrupted run")["losses"][saved:]
    losses = run_forked(run_rest, report, "the resumed run")["losses"]
    difference = largest_relative_difference(losses, expected)
    report.put(losses=losses, uninterrupted_losses=expected, largest_relative_difference=difference)
    report.put(identical=losses == expected)
    if not difference <= LARGEST_DIFFERENCE:
        raise RuntimeError(f"the losses differ by {difference:.1e}")


def _train_tiny(setting: BenchmarkSetting, **options: Any) -> TrainingRun:
    rows = small_rows()
    defaults: dict[str, Any] = {**rows.options, "max_steps": 2 if setting.dry else 5, "workers": 0}
    if setting.dry:
        defaults["gradient_accumulation_steps"] = 1  # quantized layers are slow on a CPU
    return train(setting, rows.file(setting), model=str(tiny_checkpoint()), **{**defaults, **options})

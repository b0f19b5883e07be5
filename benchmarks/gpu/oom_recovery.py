"""Out-of-memory recovery with real errors: a run in a process with less memory than its first layout takes.

A run without a limit measures what a step takes; the limit of the second run is the model plus a part of that. It has
to shrink its layout and get the same losses. In a dry run, forward passes of several rows raise the error instead.
"""

from contextlib import nullcontext
from typing import Any
from unittest import mock

import torch
from inputs import checkpoint_folder, five_question_rows
from processes import run_forked
from tasks import BenchmarkSetting, TaskReport
from training_runs import TrainingRun, largest_relative_difference, train

from mg_tui.engine.run.trainer import GardenTrainer

SHARE = 0.4  # of the memory that a step takes in addition to the model
LARGEST_DIFFERENCE = 1e-2  # of losses, relative, in bfloat16


def recover_from_oom(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: the layout changes of the limited run, and the difference of its losses from the unlimited run.

    Raises:
        RuntimeError: a run failed, no error was raised, or the losses differ.
    """

    def run_unlimited(nested: TaskReport) -> None:
        run = _train(setting)
        steps = run.events_of("step")
        nested.put(losses=run.losses, probe=[event["why"] for event in run.events_of("measured")])
        if not setting.dry:
            peak = max(step["device_memory_peak"] for step in steps)
            loaded = min(step["device_memory"] for step in steps)
            total = torch.cuda.get_device_properties(0).total_memory
            nested.put(peak=peak, loaded=loaded, share=(loaded + SHARE * (peak - loaded)) / total)

    def run_limited(nested: TaskReport) -> None:
        with _raise_for_several_rows() if setting.dry else nullcontext():
            # With a token budget in the spec the probe does not shrink the layout before the first step.
            run = _train(setting, share=unlimited.get("share"), token_budget=256 if setting.dry else 8192)
        nested.put(losses=run.losses, relaid=run.events_of("relaid"))

    unlimited = run_forked(run_unlimited, report, "the run without a limit")
    limited = run_forked(run_limited, report, "the run with a limit")
    difference = largest_relative_difference(limited["losses"], unlimited["losses"])
    relaid = [{name: event[name] for name in ("step", "tokens", "budget", "why")} for event in limited["relaid"]]
    report.put(relaid=relaid, largest_relative_difference=difference, **unlimited)
    if not relaid:
        raise RuntimeError("no step ran out of memory")
    if not difference <= LARGEST_DIFFERENCE:
        raise RuntimeError(f"the losses differ by {difference:.1e}")


def _train(setting: BenchmarkSetting, share: float | None = None, **options: Any) -> TrainingRun:
    rows = five_question_rows(setting)
    defaults = {**rows.options, **({"gradient_accumulation_steps": 5} if setting.dry else {})}
    if share is not None:
        torch.cuda.set_per_process_memory_fraction(share)
    return train(
        setting,
        rows.file(setting),
        model=str(checkpoint_folder(setting, "small")),
        random=True,
        **defaults,
        **options,
        quantization="none",
        max_steps=2 if setting.dry else 4,
        gradient_checkpointing=False,
        vision_cache="off",
        workers=0,
    )


def _raise_for_several_rows() -> Any:
    original = GardenTrainer._forward_backward

    def forward_backward(self: Any, model: Any, part: Any, scale: float) -> Any:
        if len(part.rows) > 3:
            raise torch.OutOfMemoryError("injected")
        return original(self, model, part, scale)

    return mock.patch.object(GardenTrainer, "_forward_backward", forward_backward)

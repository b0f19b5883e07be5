"""Training runs by the engine's own worker, in this process, and the contents of their journals."""

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from model import random_weights
from step_profile import StepProfile
from tasks import BenchmarkSetting, TaskReport
from transformers import TrainerCallback

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run.trainer import GardenTrainer
from mg_tui.engine.run.worker import run_worker
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A run: its folder, the events of its journal, and properties of its trainer (`trainer`, filled at its end)."""

    folder: RunFolder
    events: list[Any]
    trainer: dict[str, Any]

    def events_of(self, kind: str) -> list[dict[str, Any]]:
        """The fields of the events of a kind; `t` is the Unix time in seconds."""
        return [{**event.data, "t": event.t} for event in self.events if event.kind == kind]

    @property
    def losses(self) -> list[float]:
        """Of every step."""
        return [step["loss"] for step in self.events_of("step")]

    @property
    def decisions(self) -> dict[str, Any]:
        """The last value of each decision."""
        return {decision["what"]: decision["value"] for decision in self.events_of("decision")}


def train(
    setting: BenchmarkSetting,
    dataset: Path,
    *,
    model: str,
    random: bool = False,
    checkpoint: Path | None = None,
    profile: StepProfile | None = None,
    reset_peaks_at: Collection[int] = (),
    after_step: Mapping[int, Callable[[TrainingRun], None]] | None = None,
    **options: Any,
) -> TrainingRun:
    """Do a run.

    Args:
        setting: the device.
        dataset: its rows.
        model: folder of the base model.
        random: create random weights instead of loading a checkpoint.
        checkpoint: resume from this checkpoint of a run with the same options.
        profile: profiles some of the steps.
        reset_peaks_at: steps (numbers from 1) before which the peak memory statistics restart.
        after_step: functions to call after a step, with the run so far.
        options: of the spec.

    Raises:
        RuntimeError: the run did not finish; the message is from its journal.
    """
    values = {"base_model": model, "dataset": str(dataset), "device": "cpu" if setting.dry else "cuda"}
    values |= {"sample_count": 0, "save_steps": 100_000, "learning_rate": 1e-4}
    spec = TrainingSpec.parse({**values, **options})
    folder = RunFolder.create(setting.scratch / "home", spec, versions={})
    if checkpoint is not None:
        shutil.copytree(checkpoint, folder.checkpoints_dir / checkpoint.name)
    trainer: dict[str, Any] = {}

    def run_so_far() -> TrainingRun:
        return TrainingRun(folder, list(JournalReader(folder.journal_file).read_new()), trainer)

    callbacks = [_StepActions(reset_peaks_at, after_step or {}, run_so_far), *([profile] if profile else [])]
    with ExitStack() as stack:
        stack.enter_context(_observe_trainer(trainer, callbacks))
        if random:
            stack.enter_context(random_weights())
        code = run_worker(folder.path)
    run = run_so_far()
    if code != 0 or not run.events_of("finished"):
        failed = (run.events_of("failed") or [{"what": f"the worker ended with code {code} and did not finish"}])[-1]
        raise RuntimeError(f"{failed['what']}: {failed.get('why', '')}"[:500])
    return run


def report_run(report: TaskReport, run: TrainingRun, *, cuda: bool) -> None:
    """Report a short run and check it.

    Raises:
        RuntimeError: an implausible loss, the wrong device, or AdamW that is not fused on CUDA.
    """
    last = run.events_of("step")[-1]
    report.put(losses=run.losses, decisions=run.decisions, **run.trainer)
    report.put(device_memory_peak=last["device_memory_peak"], step_seconds=last["seconds"])
    if not all(0 < loss < 100 for loss in run.losses):  # also NaN
        raise RuntimeError(f"implausible losses: {run.losses}")
    if cuda and not str(run.decisions["device"]).startswith("cuda"):
        raise RuntimeError(f"it ran on {run.decisions['device']}")
    if cuda and run.trainer["optimizer"] == "torch AdamW" and not run.trainer["fused"]:
        raise RuntimeError("AdamW is not fused")


def measure_speed(run: TrainingRun, steps: range, per_step: int) -> dict[str, Any]:
    """Speed of steps (numbers from 1) with `per_step` rows each, from the end of the step before to that of the last.

    Bytes are of the device, or of the process on a CPU.
    """
    by_number = {step["step"]: step for step in run.events_of("step")}
    selected = [by_number[number] for number in steps]
    seconds = selected[-1]["t"] - by_number[steps.start - 1]["t"]
    counts = ("tokens", "laid_out", "supervised_tokens", "images_encoded", "images_cached")
    sums = {name: sum(step[name] for step in selected) for name in counts}
    return {
        "steps": [steps.start, steps.stop - 1],
        "seconds": seconds,
        "samples_per_second": len(selected) * per_step / seconds,
        **sums,
        "tokens_per_second": sums["tokens"] / seconds,
        "data_wait": sum(step["data_wait"] for step in selected) / seconds,
        "peak": max(step["device_memory_peak"] or step["host_memory"] for step in selected),
    }


def largest_relative_difference(losses: list[float], references: list[float]) -> float:
    """Of two lists of losses of the same steps."""
    pairs = zip(losses, references, strict=True)
    return max((abs(loss - reference) / abs(reference) for loss, reference in pairs), default=0.0)


@contextmanager
def _observe_trainer(properties: dict[str, Any], callbacks: Sequence[TrainerCallback]) -> Iterator[None]:
    """A block in which trainers get additional callbacks; afterwards `properties` describes the last trainer."""
    original: Callable[..., Any] = GardenTrainer.train

    def train(self: Any, *args: Any, **options: Any) -> Any:
        for callback in callbacks:
            self.add_callback(callback)
        result = original(self, *args, **options)
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        properties["optimizer"] = f"{type(optimizer).__module__.partition('.')[0]} {type(optimizer).__name__}"
        properties["fused"] = bool(optimizer.defaults.get("fused"))
        if hasattr(optimizer, "is_paged"):
            paged = ", paged" if optimizer.is_paged else ""
            properties["optimizer"] += f", {optimizer.args.optim_bits} bits{paged}"
        properties["loss"] = self.objective.method[0]
        properties["attention"] = self.model.config.get_text_config()._attn_implementation
        properties["trainable"] = sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad)
        return result

    with mock.patch.object(GardenTrainer, "train", train):
        yield


class _StepActions(TrainerCallback):  # type: ignore[misc]
    def __init__(
        self,
        reset_peaks_at: Collection[int],
        after_step: Mapping[int, Callable[[TrainingRun], None]],
        run_so_far: Callable[[], TrainingRun],
    ):
        self.reset_peaks_at = reset_peaks_at
        self.after_step = after_step
        self.run_so_far = run_so_far

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step + 1 in self.reset_peaks_at and torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in self.after_step:
            self.after_step[state.global_step](self.run_so_far())

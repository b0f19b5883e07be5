"""The estimate of a run that is not started: memory, trained parameters, steps and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mg_tui.core.steps import steps_per_epoch, total_steps

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.data.dataset import Dataset
    from mg_tui.hardware.memory import ExampleSize, MemoryAdvisor
    from mg_tui.hardware.memory.candidates import CandidateDevice
    from mg_tui.hardware.memory.estimator import MemoryEstimate


@dataclass(frozen=True, slots=True)
class LocalDeviceFit:
    """A device of this machine: whether the run fits, and the flags of the first single change that makes it fit."""

    place: "CandidateDevice"
    fits: bool
    suggestion: str = ""


@dataclass(frozen=True, slots=True)
class TrainedPart:
    """A part of the model: its training method, its trainable parameters, and all its parameters."""

    name: str
    method: str
    trainable_parameters: int
    parameters: int


@dataclass(frozen=True, slots=True)
class WorkloadSummary:
    """The work of a run on its dataset.

    Attributes:
        examples: rows to train on.
        bad_rows: rows that cannot be trained on.
        held_out: rows split off for evaluation.
        examples_per_step: examples of an optimizer step.
        steps_per_epoch, steps: optimizer steps of an epoch, and in total.
        tokens_per_step: of an average step; None when unknown, as is `longest_example`.
        longest_example: tokens of the longest example.
    """

    examples: int
    bad_rows: int
    held_out: int
    examples_per_step: int
    steps_per_epoch: int
    steps: int
    tokens_per_step: int | None = None
    longest_example: int | None = None


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """The whole estimate. What is unknown is None, and `problems` say why.

    Attributes:
        memory: the estimate for the kind of device the run would use: the CPU where there is no GPU and none is
            requested.
        advisor: the same, for further questions.
        device_fits: the devices of this machine.
        why_no_gpu: why this machine has no GPU.
        trained_parts: the parts of the model.
        workload: None before the dataset is read, and without one.
        rows_read: (rows read, rows) while the dataset is being read.
        problems: errors, each in one paragraph.
    """

    memory: "MemoryEstimate | None" = None
    advisor: "MemoryAdvisor | None" = None
    device_fits: tuple[LocalDeviceFit, ...] = ()
    why_no_gpu: str | None = None
    trained_parts: tuple[TrainedPart, ...] = ()
    workload: WorkloadSummary | None = None
    rows_read: tuple[int, int] | None = None
    problems: tuple[str, ...] = ()


def trained_parts(advisor: "MemoryAdvisor") -> tuple[TrainedPart, ...]:
    """Trainable parameters by part, frozen parts included."""
    from mg_tui.core.model_parts import PARTS
    from mg_tui.hardware.memory.weights import parameters_of, trainable_counts

    setup = advisor.estimate().setup
    trainable = trainable_counts(advisor.shape, setup)
    return tuple(
        TrainedPart(part, setup.methods[part], trainable[part].numbers, parameters_of(advisor.shape, part))
        for part in PARTS
    )


def summarize_workload(
    spec: "TrainingSpec", dataset: "Dataset", rows: "Sequence[ExampleSize] | None", advisor: "MemoryAdvisor | None"
) -> WorkloadSummary:
    """Steps and tokens of a run of `spec`; tokens only where the model counts them."""
    from mg_tui.data.split import split_by_image

    examples, held_out = sum(dataset.copies) or len(dataset.examples), 0
    if spec.eval_dataset is None and spec.eval_split > 0:
        train, evaluation = split_by_image(dataset.examples, spec.eval_split, spec.seed)
        examples, held_out = len(dataset.repeat(train)), len(evaluation)
    per_epoch = max(steps_per_epoch(examples, spec.examples_per_step), 1)
    lengths = _row_lengths(spec, rows, advisor)
    mean = sum(lengths) / len(lengths) if lengths else 0.0
    return WorkloadSummary(
        examples=examples,
        bad_rows=len({problem.row for problem in dataset.problems}),
        held_out=held_out,
        examples_per_step=spec.examples_per_step,
        steps_per_epoch=per_epoch,
        steps=total_steps(per_epoch, spec.epochs, spec.max_steps),
        tokens_per_step=round(mean * min(spec.examples_per_step, examples)) if lengths else None,
        longest_example=max(lengths, default=None),
    )


def _row_lengths(
    spec: "TrainingSpec", rows: "Sequence[ExampleSize] | None", advisor: "MemoryAdvisor | None"
) -> list[int]:
    if rows is None or advisor is None:
        return []
    from mg_tui.hardware.memory.workload import image_tokens_by_area

    tokens = advisor.image_tokens or image_tokens_by_area(advisor.shape)
    return [
        row.text + sum(tokens(width, height, spec.min_pixels, spec.max_pixels) for width, height in row.images)
        for row in rows
    ]

"""What a run that is being put together would cost and do, as far as can be told without starting it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.data.dataset import Dataset
    from mg_tui.hardware.memory import ExampleSize, MemoryAdvisor
    from mg_tui.hardware.memory.candidates import CandidateDevice
    from mg_tui.hardware.memory.estimator import MemoryEstimate


@dataclass(frozen=True, slots=True)
class LocalDeviceFit:
    """A device here: whether the run fits, and the first single change with which it does (its flags)."""

    place: "CandidateDevice"
    fits: bool
    suggestion: str = ""


@dataclass(frozen=True, slots=True)
class TrainedPart:
    """A part of the model: how it is trained, how many numbers learn, and how many parameters it has."""

    name: str
    method: str
    trainable_parameters: int
    parameters: int


@dataclass(frozen=True, slots=True)
class WorkloadSummary:
    """What the dataset makes of the run.

    Attributes:
        examples: rows to train on; `bad` cannot be, `held` are kept for evaluation.
        per_step: examples of an optimizer step.
        steps: optimizer steps in all, and `per_epoch` of an epoch.
        tokens: of an average step, and of the longest example; None where nothing tells.
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
    """Everything at once. What cannot be told is None, and `unknown` says why, each an error's lines.

    Attributes:
        memory: the estimate for the kind of device the run would use: the CPU where there is no GPU and none is asked
            for.
        question: the same, to ask further of.
        fits: the devices here.
        why_no_gpu: why there is no GPU here.
        trained: by part.
        work: of the dataset; None before it is read and when there is none.
        reading: (rows done, rows) while the dataset is being read.
    """

    memory: "MemoryEstimate | None" = None
    question: "MemoryAdvisor | None" = None
    device_fits: tuple[LocalDeviceFit, ...] = ()
    why_no_gpu: str | None = None
    trained_parts: tuple[TrainedPart, ...] = ()
    workload: WorkloadSummary | None = None
    rows_read: tuple[int, int] | None = None
    problems: tuple[str, ...] = ()


def trained_parts(question: "MemoryAdvisor") -> tuple[TrainedPart, ...]:
    """What learns, by part, frozen parts included."""
    from mg_tui.core.model_parts import PARTS
    from mg_tui.hardware.memory.weights import parameters_of, trainable_counts

    setup = question.estimate().setup
    learned = trainable_counts(question.shape, setup)
    return tuple(
        TrainedPart(part, setup.methods[part], learned[part].numbers, parameters_of(question.shape, part))
        for part in PARTS
    )


def summarize_workload(
    spec: "TrainingSpec", dataset: "Dataset", rows: "Sequence[ExampleSize] | None", question: "MemoryAdvisor | None"
) -> WorkloadSummary:
    """Steps and tokens of a run of `spec`; tokens only where the model counts them.

    Steps are those of `mg_tui.engine.layout.plan`, which a face cannot import; a test holds them to be the same.
    """
    from mg_tui.data.split import split_by_image

    kept, held = len(dataset.examples), 0
    if spec.eval_dataset is None and spec.eval_split > 0:
        train, apart = split_by_image(dataset.examples, spec.eval_split, spec.seed)
        kept, held = len(train), len(apart)
    per_epoch = max(math.ceil(kept / spec.examples_per_step), 1)
    lengths = _row_lengths(spec, rows, question)
    mean = sum(lengths) / len(lengths) if lengths else 0.0
    return WorkloadSummary(
        examples=kept,
        bad_rows=len({problem.row for problem in dataset.problems}),
        held_out=held,
        examples_per_step=spec.examples_per_step,
        steps_per_epoch=per_epoch,
        steps=spec.max_steps or max(1, math.ceil(spec.epochs * per_epoch - 1e-9)),
        tokens_per_step=round(mean * min(spec.examples_per_step, kept)) if lengths else None,
        longest_example=max(lengths, default=None),
    )


def _row_lengths(
    spec: "TrainingSpec", rows: "Sequence[ExampleSize] | None", question: "MemoryAdvisor | None"
) -> list[int]:
    if rows is None or question is None:
        return []
    from mg_tui.hardware.memory.workload import image_tokens_by_area

    tokens = question.image_tokens or image_tokens_by_area(question.shape)
    return [
        row.text + sum(tokens(width, height, spec.min_pixels, spec.max_pixels) for width, height in row.images)
        for row in rows
    ]

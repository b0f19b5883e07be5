"""What a run that is being put together would cost and do, as far as can be told without starting it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.data.dataset import Dataset
    from mg_tui.hardware.memory import Question, Row
    from mg_tui.hardware.memory.estimate import Estimate
    from mg_tui.hardware.memory.places import Place


@dataclass(frozen=True, slots=True)
class Fit:
    """A device here: whether the run fits, and the first single change with which it does (its flags)."""

    place: "Place"
    fits: bool
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class TrainedPart:
    """A part of the model: how it is trained, how many numbers learn, and how many parameters it has."""

    name: str
    method: str
    numbers: int
    parameters: int


@dataclass(frozen=True, slots=True)
class Work:
    """What the dataset makes of the run.

    Attributes:
        examples: rows to train on; `bad` cannot be, `held` are kept for evaluation.
        per_step: examples of an optimizer step.
        steps: optimizer steps in all, and `per_epoch` of an epoch.
        tokens: of an average step, and of the longest example; None where nothing tells.
    """

    examples: int
    bad: int
    held: int
    per_step: int
    per_epoch: int
    steps: int
    tokens: int | None = None
    longest: int | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
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

    memory: "Estimate | None" = None
    question: "Question | None" = None
    fits: tuple[Fit, ...] = ()
    why_no_gpu: str | None = None
    trained: tuple[TrainedPart, ...] = ()
    work: Work | None = None
    reading: tuple[int, int] | None = None
    unknown: tuple[str, ...] = ()


def trained_parts(question: "Question") -> tuple[TrainedPart, ...]:
    """What learns, by part, frozen parts included."""
    from mg_tui.hardware.memory.setup import PARTS
    from mg_tui.hardware.memory.weights import parameters_of, trained

    setup = question.estimate().setup
    learned = trained(question.shape, setup)
    return tuple(
        TrainedPart(part, setup.methods[part], learned[part].numbers, parameters_of(question.shape, part))
        for part in PARTS
    )


def work_of(
    spec: "TrainingSpec", dataset: "Dataset", rows: "Sequence[Row] | None", question: "Question | None"
) -> Work:
    """Steps and tokens of a run of `spec`; tokens only where the model counts them.

    Steps are those of `mg_tui.engine.layout.plan`, which a face cannot import; a test holds them to be the same.
    """
    from mg_tui.data.split import split_by_image

    kept, held = len(dataset.examples), 0
    if spec.eval_dataset is None and spec.eval_split > 0:
        train, apart = split_by_image(dataset.examples, spec.eval_split, spec.seed)
        kept, held = len(train), len(apart)
    per_epoch = max(math.ceil(kept / spec.examples_per_step), 1)
    lengths = _lengths(spec, rows, question)
    mean = sum(lengths) / len(lengths) if lengths else 0.0
    return Work(
        examples=kept,
        bad=len({problem.row for problem in dataset.problems}),
        held=held,
        per_step=spec.examples_per_step,
        per_epoch=per_epoch,
        steps=spec.max_steps or max(1, math.ceil(spec.epochs * per_epoch - 1e-9)),
        tokens=round(mean * min(spec.examples_per_step, kept)) if lengths else None,
        longest=max(lengths, default=None),
    )


def _lengths(spec: "TrainingSpec", rows: "Sequence[Row] | None", question: "Question | None") -> list[int]:
    if rows is None or question is None:
        return []
    from mg_tui.hardware.memory.workload import by_area

    tokens = question.picture_tokens or by_area(question.shape)
    return [
        row.text + sum(tokens(width, height, spec.min_pixels, spec.max_pixels) for width, height in row.pictures)
        for row in rows
    ]

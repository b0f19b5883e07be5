"""A family with a small checkpoint, and a step of examples that share prefixes, images and nothing at all."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.data.images import open_image
from mg_tui.engine.batching.batches import MicroBatch, collate
from mg_tui.engine.batching.packed_layout import PackedLayout
from mg_tui.engine.batching.vision_inputs import VisionInputs
from mg_tui.engine.compute.loss import SupervisedHead, token_loss_sum
from mg_tui.families.conformance import PREPROCESSING, make_image
from mg_tui.families.contract import LoadRequest, Unsupported
from mg_tui.families.family import ModelFamily
from mg_tui.families.split_encoding import SplitEncoder

_SIZES: Final = {"a": (112, 112), "b": (150, 60), "c": (112, 112), "d": (37, 300)}
# A kit in float32: rounding of sums in another order. Of a gradient's norm, and of the norm of all for small ones.
TOLERANCE: Final = 1e-5
_SMALL: Final = 0.02


@dataclass(slots=True)
class Gradients:
    """The loss of a step, the mean over its supervised tokens, and the gradient of every trained parameter."""

    loss: float
    by_name: dict[str, Tensor]

    def differences(self, expected: "Gradients") -> list[str]:
        """What differs by more than rounding: sentences."""
        found = []
        if not abs(self.loss - expected.loss) <= TOLERANCE * abs(expected.loss):
            found.append(f"the loss is {self.loss:.7g}, not {expected.loss:.7g}")
        if missing := sorted(expected.by_name.keys() ^ self.by_name.keys()):
            found.append(f"{len(missing)} gradients are missing or new, e.g. {missing[0]}")
        size = torch.stack([gradient.norm() for gradient in expected.by_name.values()]).norm()
        worst, where = 0.0, ""
        for name, gradient in expected.by_name.items():
            if name in self.by_name:
                off = float((self.by_name[name] - gradient).norm() / max(gradient.norm(), _SMALL * size))
                if not off <= worst:
                    worst, where = off, name
        if not worst <= TOLERANCE:
            found.append(f"the gradient of {where} is off by {worst:.1e}")
        return found


@dataclass(slots=True)
class LiveFixture:
    """Everything that a live check needs; models are loaded anew, since checks change them.

    Attributes:
        family: the family.
        folder: of its checkpoint.
        work: an empty folder for images.
        collator: the family's, or one that a test of the kit spoils.
        step: examples of one optimizer step.
        images: by path.
    """

    family: ModelFamily
    folder: Path
    work: Path
    collator: Any = None
    step: list[Example] = field(default_factory=list)
    images: dict[str, Any] = field(default_factory=dict)
    processor: Any = None

    def __post_init__(self) -> None:
        self.processor = self.family.load_processor(self.family, str(self.folder), PREPROCESSING)
        self.collator = self.family.make_collator(self.family, self.processor, PREPROCESSING)
        for number, (name, size) in enumerate(_SIZES.items(), start=1):
            path = self.work / f"{name}.png"
            make_image(*size, seed=number).save(path)
            self.images[str(path)] = open_image(path)
        several = not isinstance(self.family.capability("multi_image"), Unsupported)
        self.step = make_step(self.work, several=several)

    @property
    def examples(self) -> list[Example]:
        """Those of the step; the first one has an image."""
        return self.step

    def load(self, quantization: Any = "none") -> Any:
        """The model in float32 on the CPU."""
        return self.family.load_model(self.family, LoadRequest(str(self.folder), "float32", "cpu", quantization))

    def alone(self, examples: Sequence[Example] | None = None) -> list[MicroBatch]:
        """Each example of the step a forward pass of its own, as the family's processor makes it."""
        return [collate([example], self.images, self.collator) for example in examples or self.step]

    def padded(self, count: int) -> list[MicroBatch]:
        """`count` examples side by side."""
        starts = range(0, len(self.step), count)
        return [collate(self.step[start : start + count], self.images, self.collator) for start in starts]

    def packed(self, examples: Sequence[Example] | None = None, budget: int = 100_000) -> list[MicroBatch]:
        """The packed layout of the step."""
        layout = PackedLayout(SplitEncoder(self.collator), budget)
        return layout(self.step if examples is None else list(examples), self.images)

    def gradients(self, model: Any, parts: Sequence[MicroBatch], *, frozen: bool, vision: Any = None) -> Gradients:
        """Loss and gradients of a step laid out as `parts`; with `frozen`, of the language model alone."""
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not frozen or self.family.parts.part_of(name) == "language")
            parameter.grad = None
        vision = vision or VisionInputs(frozen=frozen, vision=self.family.vision)
        head, total, count = SupervisedHead(model), 0.0, sum(part.targets.numel() for part in parts)
        try:
            for part in parts:
                logits = head(model, vision(model, part.inputs), part.positions)
                loss = token_loss_sum(logits, part.targets) / count
                loss.backward()
                total += float(loss.detach())
        finally:
            head.close()
        return Gradients(total, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})


def make_step(folder: Path, *, several: bool) -> list[Example]:
    """Rows that share an image and a question, an image alone, a text, and nothing."""
    rows: list[tuple[str, tuple[str, ...], str, str]] = [
        ("", ("a",), "what is this?", "a zebra, I think"),
        ("", ("a",), "what is this?", "a zebra, and more"),
        ("", ("a",), "how many? one two three", "seven of them"),
        ("", ("b",), "what shape is it? what color is the large one?", "a circle"),
        ("", ("c",), "what is this?", "a triangle"),
        ("", (), "are you sure?", "quite"),
        ("one ", ("a",), "and now?", "two lines"),
    ]
    if several:
        rows += [
            ("", ("a", "b"), "how many shapes are there?", "five"),
            ("", ("b", "a", "d"), "how many shapes are there?", "six, or more"),
        ]
    return [
        Example(
            number,
            (
                Message(
                    "user",
                    (
                        *((TextPart(first),) if first else ()),
                        *(ImagePart(ImageRef(str(folder / f"{name}.png"), name)) for name in names),
                        TextPart(question),
                    ),
                ),
                Message("assistant", (TextPart(answer),)),
            ),
        )
        for number, (first, names, question, answer) in enumerate(rows, start=1)
    ]

"""From a step's example indices to tensors: an item of the data loader is a whole optimizer step.

Worker processes open and preprocess the images and tokenize, ahead of training (see `step_stream`). They keep no state
between steps: an image is opened, used and closed once per step, however many examples show it.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy
import torch

from mg_tui.core.errors import DataError, GardenError
from mg_tui.core.example import Example
from mg_tui.engine.batching.image_files import FileFacts, read_facts
from mg_tui.engine.batching.pixel_codec import PixelCodec
from mg_tui.engine.compute.loss import supervised_positions
from mg_tui.engine.layout.partition import StepPartition
from mg_tui.engine.layout.plan import StepPlan
from mg_tui.families.contract import Collator


@dataclass(slots=True)
class MicroBatch:
    """A forward pass: the model's arguments, its supervised positions (see `loss.supervised_positions`), its rows.

    `tokens` counts the examples' tokens without padding, `images` their images; `laid_out` the tokens that are computed
    where examples share some. `weights` has the weight of each target's row, if rows have weights.
    """

    inputs: dict[str, Any]
    positions: torch.Tensor
    targets: torch.Tensor
    rows: tuple[int, ...]
    tokens: int
    images: int
    laid_out: int | None = None
    weights: torch.Tensor | None = None

    @property
    def computed_tokens(self) -> int:
        """Tokens that are computed: shared ones once."""
        return self.tokens if self.laid_out is None else self.laid_out


@dataclass(slots=True)
class RowFailure:
    """An example that can no longer be read: its row and the error."""

    row: int
    what: str
    why: str | None
    hint: str | None


@dataclass(slots=True)
class StepBatch:
    """One optimizer step: its number (from 0), its forward passes, the examples that could not be read, and the images
    that are not what they were."""

    number: int
    micro_batches: list[MicroBatch]
    failures: list[RowFailure] = field(default_factory=list)
    changed_images: list[str] = field(default_factory=list)

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of the dataset file in the step."""
        return tuple(row for part in self.micro_batches for row in part.rows)

    @property
    def supervised(self) -> int:
        """Supervised tokens, over which the loss is averaged."""
        return sum(part.targets.numel() for part in self.micro_batches)

    @property
    def tokens(self) -> int:
        """Tokens that are not padding."""
        return sum(part.tokens for part in self.micro_batches)

    @property
    def laid_out(self) -> int:
        """Tokens that are computed: those of `tokens`, shared ones once."""
        return sum(part.computed_tokens for part in self.micro_batches)

    @property
    def images(self) -> int:
        """Images of the examples, with repetitions."""
        return sum(part.images for part in self.micro_batches)

    def map_values(self, change: Callable[[Any], Any]) -> "StepBatch":
        """Replace every value by `change(value)`; returns itself."""
        for part in self.micro_batches:
            part.inputs = {name: change(value) for name, value in part.inputs.items()}
            part.positions, part.targets = change(part.positions), change(part.targets)
            part.weights = change(part.weights)
        return self

    def pin_memory(self) -> "StepBatch":
        """Page-locked copies of all tensors; called by the loader where there is a CUDA device."""
        return self.map_values(to_tensor).map_values(
            lambda value: value.pin_memory() if torch.is_tensor(value) else value
        )


class StepLayout(Protocol):
    """How the examples of a step become forward passes. Loss and gradient do not depend on it."""

    def __call__(self, examples: Sequence[Example], images: Mapping[str, Any]) -> list[MicroBatch]:
        """The forward passes of a step; every example is in exactly one.

        Args:
            examples: those of the step.
            images: the images they show, RGB, by path.
        """
        ...

    def shrink(self) -> int | None:
        """Lay out smaller from now on, in every process; returns the new size, or None when it cannot be smaller."""
        ...


class PaddedLayout:
    """Batches of `batch_size` examples, padded to the longest of them.

    Examples of similar length are batched together, which changes neither loss nor gradient of a step; without
    `lengths` (tokens by row) their order is kept. With `pixel_codec` pixels are passed as bytes.
    """

    def __init__(
        self,
        collator: Collator,
        batch_size: int,
        lengths: Mapping[int, int] | None = None,
        pixel_codec: PixelCodec | None = None,
    ):
        self.collator = collator
        self.lengths = lengths
        self.pixel_codec = pixel_codec
        self._size = multiprocessing.Value("q", batch_size)

    def __call__(self, examples: Sequence[Example], images: Mapping[str, Any]) -> list[MicroBatch]:
        """See `StepLayout`."""
        size = self._size.value
        if self.lengths is not None and size > 1:
            # The longest first: if memory does not suffice, it fails before other work is done.
            lengths = self.lengths
            examples = sorted(examples, key=lambda example: (-lengths.get(example.row, 0), example.row))
        return [self._collate(examples[at : at + size], images) for at in range(0, len(examples), size)]

    def _collate(self, examples: Sequence[Example], images: Mapping[str, Any]) -> MicroBatch:
        part = collate(examples, images, self.collator)
        if self.pixel_codec is not None:
            self.pixel_codec.encode(part.inputs)
        return part

    def shrink(self) -> int | None:
        """Half as many examples side by side."""
        if self._size.value <= 1:
            return None
        self._size.value //= 2
        return int(self._size.value)


class StepDataset:
    """Steps by number: a map-style dataset. An unreadable row is returned as a `RowFailure`, since an exception from a
    worker process would lose its fields.

    With `partition` a step has this rank's examples only. With `image_facts` (see `image_files`) images that differ
    from them are listed in the step.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        plan: StepPlan,
        layout: "StepLayout",
        opener: "OpenImage | None" = None,
        partition: StepPartition | None = None,
        image_facts: Mapping[str, FileFacts] | None = None,
    ):
        self.image_facts = image_facts or {}
        self.examples = examples
        self.plan = plan
        self.layout = layout
        self.opener = opener or _open_image
        self.partition = partition

    def __len__(self) -> int:
        return self.plan.steps_per_epoch

    def __getitem__(self, number: int) -> StepBatch:
        batch = StepBatch(number, [])
        images: dict[str, Any] = {}
        step: Sequence[int] = self.plan.step(number)
        if self.partition is None:
            self._add(batch, step, images)
        else:
            for indices in self.partition.rank_passes(step, getattr(self.layout, "budget", None)):
                self._add(batch, indices, images)
        batch.changed_images = [path for path in images if self._has_changed(path)]
        return batch

    def _has_changed(self, path: str) -> bool:
        before = self.image_facts.get(path)
        return before is not None and read_facts(path) not in (before, None)

    def _add(self, batch: StepBatch, indices: Sequence[int], images: dict[str, Any]) -> None:
        """Lay out some examples of the step."""
        readable = []
        for index in indices:
            example = self.examples[index]
            try:
                _open_images(example, images, self.opener)
            except GardenError as error:
                batch.failures.append(RowFailure(example.row, error.what, error.why, error.hint))
            else:
                readable.append(index)
        examples = [self.examples[index] for index in readable]
        try:
            batch.micro_batches += self.layout(examples, images)
        except GardenError:
            good = [example for example in examples if self._can_lay_out(example, images, batch)]
            batch.micro_batches += self.layout(good, images)

    def _can_lay_out(self, example: Example, images: Mapping[str, Any], batch: StepBatch) -> bool:
        try:
            self.layout([example], images)
        except GardenError as error:
            batch.failures.append(RowFailure(example.row, error.what, error.why, error.hint))
            return False
        return True


# From a path to an image, or to its cached features; see `packed_layout.CachedImageOpener`.
OpenImage = Callable[[str], Any]


def _open_image(path: str) -> Any:
    from mg_tui.data.images import open_image

    return open_image(path)


def _open_images(example: Example, images: dict[str, Any], opener: OpenImage = _open_image) -> None:
    for ref in example.images:
        if ref.path not in images:
            images[ref.path] = opener(ref.path)


def collate(examples: Sequence[Example], images: Mapping[str, Any], collator: Collator) -> MicroBatch:
    """One forward pass from examples and their images by path."""
    batch = dict(collator(examples, [[images[ref.path] for ref in example.images] for example in examples]))
    labels = batch.pop("labels")
    positions, targets = supervised_positions(labels)
    weights = None
    if any(example.weight != 1.0 for example in examples):
        each = torch.tensor([example.weight for example in examples], dtype=torch.float32)
        weights = each[positions // labels.shape[1]]
    mask = batch.get("attention_mask")
    return MicroBatch(
        inputs=batch,
        positions=positions,
        targets=targets,
        rows=tuple(example.row for example in examples),
        tokens=int(mask.sum()) if mask is not None else batch["input_ids"].numel(),
        images=sum(len(example.images) for example in examples),
        weights=weights,
    )


def open_images(examples: Sequence[Example]) -> dict[str, Any]:
    """The images of some examples by path.

    Raises:
        DataError: one cannot be read; the message names its row.
    """
    images: dict[str, Any] = {}
    for example in examples:
        try:
            _open_images(example, images)
        except GardenError as error:
            raise DataError(f"row {example.row}: {error.what}", why=error.why, hint=error.hint) from error
    return images


def to_tensor(value: Any) -> Any:
    """A tensor from an array that came through a pipe; other values unchanged."""
    return torch.from_numpy(value) if isinstance(value, numpy.ndarray) else value


class EvaluationBatches:
    """Yields the batches of an evaluation at each call, `at_once` examples at a time; `layout` may shrink.

    With `share` (number, count) only every count-th of them, from that number on; `add_up` then adds numbers over all
    who have a share.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        layout: StepLayout,
        *,
        at_once: int = 16,
        share: tuple[int, int] = (0, 1),
        add_up: Callable[..., list[float]] = lambda *numbers: list(numbers),
    ):
        self.add_up = add_up
        self.examples = examples
        self.layout = layout
        self._at_once = at_once
        self._share = share

    def __len__(self) -> int:
        return len(self.examples)

    def __call__(self) -> Iterator[StepBatch]:
        """Raises DataError when an image cannot be read; the message names its row."""
        number, count = self._share
        for start in range(number * self._at_once, len(self.examples), count * self._at_once):
            some = self.examples[start : start + self._at_once]
            yield StepBatch(start // self._at_once, self.layout(some, open_images(some)))

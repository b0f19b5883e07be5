"""The largest forward pass of a run: its tokens, its images, and its supervised tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Final

from mg_tui.core.spec import TrainingSpec
from mg_tui.hardware.memory.training_setup import TrainingSetup
from mg_tui.hardware.model_shape import ModelShape

# (width, height, min_pixels, max_pixels) of an image, in pixels, to its tokens.
ImageTokenCount = Callable[[int, int, int, int], int]

# The engine's default: the minimum token budget of a packed forward pass.
MIN_TOKEN_BUDGET: Final = 2048

# An assumed row: a short question and answer about one image of the maximum size, and the template.
ASSUMED_TEXT_TOKENS: Final = 192
ASSUMED_SUPERVISED_TOKENS: Final = 64


@dataclass(frozen=True, slots=True)
class ExampleSize:
    """An example's size: tokens of its text, how many of those are supervised, (width, height) of its images."""

    text: int
    supervised: int
    images: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """The largest forward pass.

    Attributes:
        rows: sequences in the batch.
        length: tokens of each.
        supervised: positions whose logits are needed.
        patches: of all its images.
        examples: how many examples it holds.
        masked: attention gets a mask: trees of packed examples, or padding.
        forwards: a step has several forward passes, so gradients are allocated during the later ones.
    """

    rows: int
    length: int
    supervised: int
    patches: int
    examples: int
    masked: bool
    forwards: bool

    @property
    def tokens(self) -> int:
        """Tokens laid out."""
        return self.rows * self.length


def assumed_example_sizes(shape: ModelShape, spec: TrainingSpec) -> tuple[ExampleSize, ...]:
    """The row assumed without a dataset: one square image of the maximum number of pixels."""
    side = int(spec.max_pixels**0.5)
    room = max(spec.max_seq_length - spec.max_pixels // shape.pixels_per_token, 16)
    text = min(ASSUMED_TEXT_TOKENS, room)
    return (ExampleSize(text=text, supervised=min(ASSUMED_SUPERVISED_TOKENS, text), images=((side, side),)),)


def image_tokens_by_area(shape: ModelShape) -> ImageTokenCount:
    """Tokens of an image from its area within the limits: for families without `image_tokens`."""

    def count(width: int, height: int, least: int, most: int) -> int:
        return max(1, round(min(max(width * height, least), most) / shape.pixels_per_token))

    return count


def keep_largest(rows: Sequence[ExampleSize], keep: int = 256) -> tuple[ExampleSize, ...]:
    """The rows that can be in a largest forward pass: those with the most text, pixels and supervised tokens.

    Other rows do not affect the estimate, and the advisor evaluates it many times.
    """
    if len(rows) <= keep:
        return tuple(rows)
    largest: dict[int, ExampleSize] = {}
    for measure in (_text_tokens, _image_pixels, _supervised_tokens):
        most = nlargest(keep, range(len(rows)), key=[measure(row) for row in rows].__getitem__)
        largest.update((index, rows[index]) for index in most)
    return tuple(largest[index] for index in sorted(largest))


def _text_tokens(row: ExampleSize) -> int:
    return row.text


def _image_pixels(row: ExampleSize) -> int:
    return sum(width * height for width, height in row.images)


def _supervised_tokens(row: ExampleSize) -> int:
    return row.supervised


def largest_forward_pass(
    shape: ModelShape,
    setup: TrainingSetup,
    spec: TrainingSpec,
    rows: Sequence[ExampleSize],
    image_tokens: ImageTokenCount,
) -> Workload:
    """The forward pass with the most memory, of the longest rows. Tokens that examples share are not subtracted.

    Rows longer than the spec allows are skipped, as in the run; if all are, the limit is the length.
    """
    measured = []
    for row in rows:
        image_token_count = sum(image_tokens(*size, spec.min_pixels, spec.max_pixels) for size in row.images)
        if row.text + image_token_count <= spec.max_seq_length:
            measured.append((row.text + image_token_count, row.supervised, image_token_count * shape.patches_per_token))
    if not measured:
        most = max((row.supervised for row in rows), default=1)
        measured = [(spec.max_seq_length, most, spec.max_seq_length * shape.patches_per_token)]
    measured.sort(reverse=True)
    longest = measured[0][0]
    step = spec.examples_per_step
    if not setup.packed:
        side = min(spec.batch_size, step)
        group = _fill_forward_pass(measured, side, side * longest)
        return Workload(
            rows=side,
            length=longest,
            supervised=sum(supervised for _tokens, supervised, _patches in group),
            patches=sum(patches for _tokens, _supervised, patches in group),
            examples=side,
            masked=side > 1,
            forwards=step > side,
        )
    budget = spec.token_budget or max(spec.batch_size * longest, MIN_TOKEN_BUDGET)
    group = _fill_forward_pass(measured, step, budget)
    return Workload(
        rows=1,
        length=sum(tokens for tokens, _supervised, _patches in group),
        supervised=sum(supervised for _tokens, supervised, _patches in group),
        patches=sum(patches for _tokens, _supervised, patches in group),
        examples=len(group),
        masked=True,
        forwards=step > len(group),
    )


def _fill_forward_pass(measured: Sequence[tuple[int, int, int]], most: int, budget: int) -> list[tuple[int, int, int]]:
    """Examples of a forward pass: the longest one first, then repeatedly the longest that still fits.

    A dataset with fewer rows than a step is repeated, as rows of the next epoch follow in the same step.
    """
    group: list[tuple[int, int, int]] = []
    total = 0
    while len(group) < most:
        start = len(group) % len(measured)
        for index in range(len(measured)):
            example = measured[(start + index) % len(measured)]
            if not group or total + example[0] <= budget:
                break
        else:
            break
        group.append(example)
        total += example[0]
    return group

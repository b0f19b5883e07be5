"""What fits into memory: the largest batch, the largest image, and single changes of a spec that make it fit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mg_tui.core.errors import SpecError
from mg_tui.core.options import format_flags
from mg_tui.core.spec import TrainingSpec
from mg_tui.hardware.memory.estimator import MemoryEstimate, estimate_memory
from mg_tui.hardware.memory.ranks import ONE_RANK, Ranks
from mg_tui.hardware.memory.training_setup import DeviceKind
from mg_tui.hardware.memory.workload import ExampleSize, ImageTokenCount, image_tokens_by_area, keep_largest
from mg_tui.hardware.model_shape import ModelShape

MAX_BATCH: Final = 4096
MAX_PIXELS: Final = 12_845_056  # the default of models that take images of any size: 16,384 tokens of one of them
_MIN_TOKENS: Final = 4  # of an image


@dataclass(frozen=True, slots=True)
class MemorySuggestion:
    """A single change of the spec: its fields, its flags, its cost in words, and the estimate with it."""

    changes: dict[str, Any]
    flags: str
    cost: str
    estimate: MemoryEstimate


@dataclass(slots=True)
class MemoryAdvisor:
    """Estimates the memory of a run of `spec`, and what would fit instead.

    Args:
        shape: the model.
        spec: the run.
        rows: the dataset; without it, a typical row is assumed.
        image_tokens: counts an image's tokens; without it, they are derived from the area.
        device: the kind of device.
        can_pack: the family has a token layout.
        ranks: the training processes; sizes are those of each device.
    """

    shape: ModelShape
    spec: TrainingSpec
    rows: tuple[ExampleSize, ...] = ()
    image_tokens: ImageTokenCount | None = None
    device: DeviceKind = "cuda"
    can_pack: bool = True
    ranks: Ranks = ONE_RANK
    _known: dict[tuple[tuple[str, Any], ...], MemoryEstimate] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.rows = keep_largest(self.rows)

    def estimate(self, **changes: Any) -> MemoryEstimate:
        """The estimate for the spec with some fields changed.

        Raises:
            SpecError: the changed spec is invalid.
        """
        key = tuple(sorted(changes.items()))
        if key not in self._known:
            spec = self._changed(changes)
            self._known[key] = estimate_memory(
                self.shape,
                spec,
                rows=self.rows,
                image_tokens=self.image_tokens,
                device=self.device,
                can_pack=self.can_pack,
                ranks=self.ranks,
            )
        return self._known[key]

    def with_ranks(self, ranks: Ranks) -> "MemoryAdvisor":
        """The same question for other training processes."""
        return replace(self, ranks=ranks)

    def settle(self, count: int, parallel: str, free_bytes: int) -> "MemoryAdvisor":
        """The question for `count` processes; with `parallel` auto, weights are shared if a whole model does not fit.

        Args:
            count: training processes on all machines.
            parallel: ddp, fsdp or auto.
            free_bytes: of the device with the least.
        """
        whole = self.with_ranks(Ranks(count, "ddp"))
        if count == 1 or parallel == "ddp" or (parallel == "auto" and whole.fits(free_bytes)):
            return whole
        shared = self.with_ranks(Ranks(count, "fsdp"))
        return shared if shared.estimate().ranks.shares_weights else whole

    def fits(self, free_bytes: int) -> bool:
        """Whether the unchanged spec fits into this many bytes."""
        return self.estimate().peak <= free_bytes

    def largest_batch(self, free_bytes: int) -> int | None:
        """The largest `batch_size` that fits; None when not even 1 does.

        Examples per optimizer step stay at least what they are, so that passes are as full as the spec lets them be.
        """
        return largest_fitting(1, MAX_BATCH, lambda size: self.estimate(batch_size=size).peak <= free_bytes)

    def largest_pixels(self, free_bytes: int) -> int | None:
        """The most pixels an image may have (`max_pixels`) that fit; None when none fit or the dataset has no image.

        The longest row may grow with it: `max_seq_length` is raised where images need it. With a dataset, images
        are not enlarged, so the answer is at most what its largest one has.
        """
        most = MAX_PIXELS
        if self.rows:
            most = max((width * height for row in self.rows for width, height in row.images), default=0)
            most = min(most, MAX_PIXELS)
        step = self.shape.pixels_per_token
        least = max(self.spec.min_pixels, _MIN_TOKENS * step)
        if most < least:
            return None
        tokens = largest_fitting(
            -(-least // step), most // step, lambda count: self._fits_pixels(count * step, free_bytes)
        )
        return None if tokens is None else tokens * step

    def suggestions(self, free_bytes: int) -> list[MemorySuggestion]:
        """Single changes that make it fit, the least costly first; none when it fits already, or none is enough."""
        if self.fits(free_bytes):
            return []
        suggestions = []
        for changes, cost in self._single_changes(free_bytes):
            try:
                changed = self.estimate(**changes)
                flags = " ".join(format_flags(self._changed(changes), changes))
            except SpecError:
                continue
            if changed.peak <= free_bytes:
                suggestions.append(MemorySuggestion(changes, flags, cost, changed))
        return suggestions

    def _changed(self, changes: dict[str, Any]) -> TrainingSpec:
        return TrainingSpec.parse({**self.spec.model_dump(), **changes}) if changes else self.spec

    def _fits_pixels(self, pixels: int, free_bytes: int) -> bool:
        return self.estimate(max_pixels=pixels, max_seq_length=self._length_for(pixels)).peak <= free_bytes

    def _length_for(self, pixels: int) -> int:
        """The longest row when images have at most so many pixels."""
        count = self.image_tokens or image_tokens_by_area(self.shape)
        least = self.spec.min_pixels
        rows = (row.text + sum(count(*size, least, pixels) for size in row.images) for row in self.rows)
        longest = max(rows, default=pixels // self.shape.pixels_per_token + 256)
        return max(self.spec.max_seq_length, longest)

    def _single_changes(self, free_bytes: int) -> Iterator[tuple[dict[str, Any], str]]:
        spec, setup = self.spec, self.estimate().setup
        if not spec.gradient_checkpointing:
            yield {"gradient_checkpointing": True}, "about 33 % slower steps"
        if spec.checkpointing_interval > 1:
            yield {"checkpointing_interval": 1}, "recomputes every block: slower steps"
        if setup.packed:
            budget = self._largest_budget(free_bytes)
            if budget is not None:
                yield {"token_budget": budget}, "more forward passes per step; identical gradients"
        batch = self.largest_batch(free_bytes) if spec.batch_size > 1 else None
        if batch is not None and batch < spec.batch_size:
            steps = -(-spec.examples_per_step // batch)
            yield {"batch_size": batch, "gradient_accumulation_steps": steps}, "more forward passes per step"
        if setup.quantization == "none" and spec.train_language != "full" and self.device == "cuda":
            yield {"quantization": "nf4"}, "4-bit frozen weights: slightly less accurate, slower"
        elif setup.quantization == "int8":
            yield {"quantization": "nf4"}, "4 instead of 8 bits: slightly less accurate"
        if self.device == "cuda" and spec.optimizer == "adamw":
            yield {"optimizer": "adamw_8bit"}, "8-bit optimizer states"
        if self.device == "cuda" and spec.optimizer != "paged_adamw_8bit":
            yield {"optimizer": "paged_adamw_8bit"}, "8-bit optimizer states, paged to the host when memory is low"
        pixels = self.largest_pixels(free_bytes)
        if pixels is not None and pixels < spec.max_pixels:
            yield {"max_pixels": pixels}, "images are downscaled: small text may become illegible"
        for part in ("vision", "projector"):
            name = f"train_{part}"
            if getattr(spec, name) != "none" and spec.train_language != "none":
                yield {name: "none"}, f"the {part} is not trained"
        if spec.train_language == "full":
            yield {"train_language": "lora", "quantization": "auto"}, "LoRA instead of full training"
        if spec.lora_r > 8:
            yield {"lora_r": 8}, "lower adapter capacity"

    def _largest_budget(self, free_bytes: int) -> int | None:
        """The most tokens of a packed forward pass that fit, when that is fewer than now and no row is longer."""
        now = self.estimate().work.length
        return largest_fitting(16, now - 1, lambda budget: self.estimate(token_budget=budget).peak <= free_bytes)


def largest_fitting(least: int, most: int, fits: Callable[[int], bool]) -> int | None:
    """The largest whole number for which `fits` holds, which it does up to some number; None when for none."""
    if most < least or not fits(least):
        return None
    low, high = least, least
    while high < most and fits(min(2 * high, most)):  # fitting values are mostly small
        low = high = min(2 * high, most)
    high = min(2 * high, most)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low

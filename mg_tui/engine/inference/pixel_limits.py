"""The limits of images' areas that a model is used with: those asked for, those of its training, or its own.

A base model, or a result of another program, does not say how images were resized for it in training. Its own processor
has the limits that its makers chose, and that other programs use; ours are only the defaults of a run.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from mg_tui.core.errors import UsageError
from mg_tui.engine.inference.locator import LocatedModel, processor_source
from mg_tui.families.family import ModelFamily
from mg_tui.runs.result_metadata import ResultMetadata

# Where limits are from: its training, its own processor, or whoever asked.
LimitSource = Literal["trained", "own", "given"]


@dataclass(frozen=True, slots=True)
class RequestedLimits:
    """Limits that were asked for, in pixels; None leaves the model's."""

    min_pixels: int | None = None
    max_pixels: int | None = None

    def __bool__(self) -> bool:
        return self.min_pixels is not None or self.max_pixels is not None


def settle_limits(
    located: LocatedModel, family: ModelFamily, requested: RequestedLimits | None = None
) -> tuple[LocatedModel, LimitSource]:
    """The model with the limits it is to be used with in its metadata, and where they are from.

    Raises:
        UsageError: the least that was asked for, or is the model's, exceeds the most.
        EnvironmentProblem: the Hub is unreachable, and the model is not cached.
    """
    source: LimitSource = "trained"
    metadata = located.metadata
    if metadata.assumed:
        from mg_tui.families.image_limits import own_pixel_limits

        source = "own"
        place, hub = processor_source(located)
        if (own := own_pixel_limits(place, **hub)) is not None:
            metadata = _with_limits(metadata, *own)
    if requested:
        source = "given"
        low, high = requested.min_pixels or metadata.min_pixels, requested.max_pixels or metadata.max_pixels
        if low > high:
            raise UsageError(
                f"--min-pixels {low:,} exceeds --max-pixels {high:,}",
                why=None if None not in (requested.min_pixels, requested.max_pixels) else "one of them is the model's",
                hint="give both",
            )
        metadata = _with_limits(metadata, low, high)
    return replace(located, metadata=metadata), source


def _with_limits(metadata: ResultMetadata, low: int, high: int) -> ResultMetadata:
    update: dict[str, Any] = {"min_pixels": low, "max_pixels": high}
    return metadata.model_copy(update=update)

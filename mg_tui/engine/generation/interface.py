"""What goes into batched generation and what comes out: model, callbacks, answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mg_tui.core.errors import GardenError
from mg_tui.core.example import Example
from mg_tui.engine.batching.feature_cache import FeatureCache
from mg_tui.engine.inference.generation import GeneratedAnswer, make_encoder
from mg_tui.engine.inference.loading import LoadedModel
from mg_tui.families.collate import ExampleEncoder


@dataclass(frozen=True, slots=True)
class GenerationModel:
    """A model to generate with.

    Attributes:
        model: in evaluation mode; inside PEFT or not, without other wrappers.
        encoder: encodes prompts as in training.
        feature_cache: of image features, enabled for the model's vision tower, which must be frozen; None for no cache.
    """

    model: Any
    encoder: ExampleEncoder
    feature_cache: FeatureCache | None = None

    @classmethod
    def from_loaded(cls, loaded: LoadedModel) -> "GenerationModel":
        """A model loaded for inference."""
        encoder = make_encoder(loaded.family, loaded.processor, loaded.metadata.preprocessing)
        return cls(loaded.model, encoder)


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """The answer to one row; `index` is its position among the given examples."""

    index: int
    example: Example
    answer: GeneratedAnswer


@dataclass(frozen=True, slots=True)
class GenerationCallbacks:
    """Optional callbacks.

    Attributes:
        on_text: the index of a row and the next piece of its answer, as soon as its characters are complete.
        on_problem: the index of a row that cannot be read, and the error. Without it the first such row raises.
        on_notice: a sentence about how rows are generated.
        cancelled: polled before each token; true ends the generation without the answers that are incomplete.
    """

    on_text: Callable[[int, str], None] | None = None
    on_problem: Callable[[int, GardenError], None] | None = None
    on_notice: Callable[[str], None] | None = None
    cancelled: Callable[[], bool] | None = None

"""A model in this process as the one who answers: found at once, loaded when the first row needs it."""

import gc
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.evaluation_spec import BASE, EvaluationSpec
from mg_tui.core.example import Example
from mg_tui.data.boxes import BoxFormat
from mg_tui.data.evaluation_rows import FieldNames
from mg_tui.engine.evaluation.answerer import AnswerSampling, Poll, Take
from mg_tui.engine.inference.locator import LocatedModel, locate_model
from mg_tui.families.registry import load_registry
from mg_tui.runs.result_metadata import ADAPTER_WEIGHTS

if TYPE_CHECKING:
    from mg_tui.engine.batching.feature_cache import FeatureCache
    from mg_tui.engine.generation.interface import GenerationModel
    from mg_tui.engine.inference.loading import LoadedModel
    from mg_tui.families.family import ModelFamily

_MIN_CACHED_IMAGES: Final = 16  # with fewer, hashing the vision tower takes longer than encoding them again


class LocalModels:
    """The models of an evaluation in this process; one is loaded at a time.

    Args:
        spec: the evaluation.
        home: where runs are looked up.
        features: folder of cached image features.

    Raises:
        UsageError, FamilyError: as `locate_model`; `base` is to be compared with, and the model is no adapter.
    """

    def __init__(self, spec: EvaluationSpec, home: Path, features: Path):
        self._spec = spec
        self._features = features
        registry = load_registry()
        self._located = locate_model(spec.model, home=home, registry=registry, base_model=spec.base_model)
        self._other: LocatedModel | None = None
        if spec.compare == BASE and not self._located.is_adapter:
            raise UsageError(
                "--compare base: the model is no adapter, so it has no base model to compare with",
                where=str(self._located.folder or self._located.label),
                hint="name the other model",
            )
        if spec.compare not in (None, BASE):
            self._other = locate_model(str(spec.compare), home=home, registry=registry)
        self._loaded: tuple[LocatedModel, LoadedModel] | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed."""
        return self._located.notes + (self._other.notes if self._other is not None else ())

    @property
    def trained_fields(self) -> FieldNames:
        """The fields that the model was trained with, as far as it says."""
        metadata = self._located.metadata
        if metadata.assumed:
            return FieldNames()
        fields, spec = metadata.fields, metadata.training_spec()
        boxes = BoxFormat.from_spec(spec) if spec is not None else None
        return FieldNames(fields.text, fields.image, fields.response, boxes)

    def model(self) -> "LocalModel":
        """The model that is evaluated."""
        return LocalModel(self, self._spec, self._located, adapter=True)

    def before(self) -> "LocalModel":
        """The model it is compared with."""
        if self._other is not None:
            return LocalModel(self, self._spec, self._other, adapter=True)
        return LocalModel(self, self._spec, self._located, adapter=False)

    def load(self, located: LocatedModel) -> "LoadedModel":
        """A model, loaded; another one that was loaded is let go of first.

        Raises:
            GardenError: as `load_located`.
        """
        if self._loaded is None or self._loaded[0] is not located:
            from mg_tui.engine.inference.generate import silence_libraries
            from mg_tui.engine.inference.loading import load_located
            from mg_tui.engine.inference.pixel_limits import RequestedLimits

            self._loaded = None
            gc.collect()
            silence_libraries()
            spec = self._spec
            loaded = load_located(
                located,
                load_registry(),
                device=spec.device,
                dtype=spec.dtype,
                quantization=spec.quantization,
                limits=RequestedLimits(spec.min_pixels, spec.max_pixels),
            )
            self._loaded = (located, loaded)
        return self._loaded[1]

    def open_feature_cache(
        self, model: "GenerationModel", family: "ModelFamily", examples: Sequence[Example]
    ) -> "FeatureCache | None":
        """A cache of image features, where an adapter and its base model see the same ones."""
        from mg_tui.engine.generation.kept_features import adapter_has_vision, open_kept_features

        images = {image.path for example in examples for image in example.images}
        if self._spec.compare != BASE or len(images) < _MIN_CACHED_IMAGES:
            return None
        if adapter_has_vision(model.model, family):
            return None
        return open_kept_features(self._features, model.model, family, model.encoder, purpose="evaluation")


class LocalModel:
    """One model, with its adapter or without; an `Answerer`."""

    def __init__(self, models: LocalModels, spec: EvaluationSpec, located: LocatedModel, *, adapter: bool):
        self._models = models
        self._spec = spec
        self._located = located
        self._adapter = adapter

    @property
    def label(self) -> str:
        """The model, for people."""
        return self._located.label if self._adapter else self._located.base.name

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `Answerer.identity`; loads the model, since dtype and device are decided then."""
        loaded, located = self.loaded(), self._located
        identity: dict[str, Any] = {
            "model": self.label,
            "kind": loaded.metadata.kind if self._adapter else "base model",
            "base_model": located.base.name if located.is_adapter and self._adapter else None,
            "family": loaded.family.key,
            "device": loaded.device,
            "dtype": loaded.dtype,
            "quantization": loaded.quantization,
            "batch_size": self._spec.batch_size,
        }
        if located.is_adapter and self._adapter and located.folder is not None:
            identity["weights"] = _digest(located.folder / ADAPTER_WEIGHTS)
        if loaded.limits_from != "trained":
            identity |= {
                "limits_from": loaded.limits_from,
                "min_pixels": loaded.metadata.min_pixels,
                "max_pixels": loaded.metadata.max_pixels,
            }
        return identity

    def loaded(self) -> "LoadedModel":
        """The model, loaded.

        Raises:
            GardenError: as `load_located`.
        """
        return self._models.load(self._located)

    def without_adapter(self) -> Any:
        """A context in which the loaded model answers as this one does."""
        return nullcontext() if self._adapter else self.loaded().model.disable_adapter()

    def answer(self, examples: Sequence[Example], done: frozenset[int], take: Take, poll: Poll) -> None:
        """See `Answerer.answer`."""
        from mg_tui.engine.evaluation.backend import answer_rows
        from mg_tui.engine.generation.interface import GenerationModel

        loaded = self.loaded()
        model = GenerationModel.from_loaded(loaded)
        model = replace(model, feature_cache=self._models.open_feature_cache(model, loaded.family, examples))
        with self.without_adapter():
            answer_rows(model, examples, AnswerSampling.of(self._spec), self._spec.batch_size, done, take, poll)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]

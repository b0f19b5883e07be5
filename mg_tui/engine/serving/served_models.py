"""Models that one process serves: one base model, and adapters by name over it."""

import gc
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.serve_spec import ServeSpec, split_served
from mg_tui.core.text import one_line
from mg_tui.engine.inference.locator import LocatedModel, locate_model
from mg_tui.families.registry import Registry
from mg_tui.runs.result_metadata import ResultMetadata

if TYPE_CHECKING:
    from mg_tui.engine.inference.loading import LoadedModel
    from mg_tui.families.collate import ExampleEncoder
    from mg_tui.families.family import ModelFamily

_NO_NAME: Final = frozenset({"", "model", "result", "adapter", "output"})  # folders that say nothing about a model


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model that is going to be served, and the name that requests give it."""

    name: str
    given: str
    located: LocatedModel


@dataclass(slots=True)
class ServedModel:
    """A served model over the base model of the process.

    Attributes:
        name: that requests give it.
        located: where it is from.
        adapter: PEFT's name of its adapter; None for the base model itself.
        encoder: encodes prompts as in its training.
        own_vision: its adapter changes image features.
    """

    name: str
    located: LocatedModel
    adapter: str | None
    encoder: "ExampleEncoder"
    own_vision: bool = False

    @property
    def metadata(self) -> ResultMetadata:
        """How it was trained."""
        return self.located.metadata

    @property
    def features_key(self) -> str:
        """Equal for models for which an image has the same features."""
        shaping = json.dumps(self.encoder.processor.image_processor.to_dict(), sort_keys=True, default=str)
        return f"{self.adapter if self.own_vision else None} {shaping}"


@dataclass(slots=True)
class ServedModels:
    """The loaded base model with its adapters, of which one at a time is active."""

    model: Any
    family: "ModelFamily"
    device: str
    dtype: str
    quantization: str
    models: list[ServedModel]
    _active: str | None = field(default=None, init=False)

    def activate(self, served: ServedModel) -> None:
        """Let the model answer as `served`."""
        if served.adapter == self._active:
            return
        if served.adapter is None:
            self.model.base_model.disable_adapter_layers()
        else:
            self.model.base_model.enable_adapter_layers()
            self.model.set_adapter(served.adapter)
        self._active = served.adapter

    def start_active(self) -> None:
        """Bring a freshly loaded model into a known state."""
        has_adapters = any(served.adapter is not None for served in self.models)
        self._active = None
        if has_adapters:
            self.model.base_model.disable_adapter_layers()

    def by_name(self, name: str) -> ServedModel:
        """A served model; KeyError for an unknown name."""
        return next(served for served in self.models if served.name == name)


def locate_served(spec: ServeSpec, *, home: Path, registry: Registry) -> list[NamedModel]:
    """Find all models of a server, without loading any.

    Raises:
        UsageError: one means nothing, two have the same name, or they need several base models.
        FamilyError, EnvironmentProblem: as `locate_model`.
    """
    found: list[NamedModel] = []
    for text in spec.models:
        name, given = split_served(text)
        whole = name is None and given in {checkpoint.name for checkpoint in registry.checkpoints}
        located = locate_model(
            given, home=home, registry=registry, base_model=None if whole else _base_for(spec, given, home, registry)
        )
        found.append(NamedModel(name or default_name(given, located), given, located))
    names = [model.name for model in found]
    for model in found:
        if names.count(model.name) > 1:
            raise UsageError(
                f"two models would be served as {one_line(model.name, limit=60)!r}",
                hint="name them: model-garden serve NAME=MODEL OTHER=MODEL",
            )
    _require_one_base(found)
    return found


def _base_for(spec: ServeSpec, given: str, home: Path, registry: Registry) -> str | None:
    """`--base-model` is for the adapters among the models."""
    if spec.base_model is None or len(spec.models) == 1:
        return spec.base_model
    return spec.base_model if locate_model(given, home=home, registry=registry).is_adapter else None


def _require_one_base(found: Sequence[NamedModel]) -> None:
    first = found[0]
    for other in found[1:]:
        if _weights(other.located) != _weights(first.located):
            raise UsageError(
                "one server has one base model",
                why=f"{one_line(first.name, limit=60)} is over {one_line(first.located.base.name, limit=80)}, and "
                f"{one_line(other.name, limit=60)} over {one_line(other.located.base.name, limit=80)}",
                hint="start a server for each, with different --port",
            )


def _weights(located: LocatedModel) -> tuple[str, str | None]:
    """What says which weights are loaded first."""
    source = located.base.source
    return (str(Path(source).resolve()) if located.base.local else source), located.revision


def default_name(given: str, located: LocatedModel) -> str:
    """The name of a model that was given none: that of its run, its folder, or what was typed."""
    run_name = located.metadata.spec.get("name")
    if isinstance(run_name, str) and run_name:
        return _clean(run_name)
    if located.folder is None or ("/" not in given and given not in (".", "..")):
        return given
    folder = located.folder
    return _clean(folder.parent.name if folder.name.lower() in _NO_NAME else folder.name)


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def load_served(spec: ServeSpec, found: Sequence[NamedModel], registry: Registry) -> ServedModels:
    """Load the base model once, and every adapter onto it.

    Raises:
        UsageError: an adapter does not fit the base model.
        EnvironmentProblem: no such device, or no room in its memory.
    """
    from mg_tui.engine.inference.generation import make_encoder
    from mg_tui.engine.inference.loading import attach_adapter, load_located, load_processor, translate_out_of_memory

    gc.collect()
    first = found[0]
    base = replace(first.located, folder=None, metadata=first.located.metadata.model_copy(update={"kind": "model"}))
    if not first.located.is_adapter:
        base = first.located
    loaded: LoadedModel = load_located(
        base, registry, device=spec.device, dtype=spec.dtype, quantization=spec.quantization
    )
    model, models = loaded.model, []
    for number, each in enumerate(found):
        name = f"served-{number}" if each.located.is_adapter else None
        if name is not None:
            assert each.located.folder is not None
            with translate_out_of_memory(each.name):
                model = attach_adapter(model, each.located.folder, device=loaded.device, name=name)
        processor = load_processor(each.located, loaded.family)
        encoder = make_encoder(loaded.family, processor, each.located.metadata.preprocessing)
        models.append(ServedModel(each.name, each.located, name, encoder))
    model.eval()
    model.requires_grad_(False)
    for served in models:
        served.own_vision = served.adapter is not None and _changes_vision(model, loaded.family, served.adapter)
    ready = ServedModels(model, loaded.family, loaded.device, loaded.dtype, loaded.quantization, models)
    ready.start_active()
    return ready


def _changes_vision(model: Any, family: "ModelFamily", adapter: str) -> bool:
    """Whether one adapter of several changes the vision tower or the projector."""
    added = [name for name, _weights in model.named_parameters() if f".{adapter}" in name]
    parts = {family.parts.part_of(name.removeprefix("base_model.model.")) for name in added}
    return bool(parts & {"vision", "projector"})

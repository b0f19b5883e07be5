"""A model family: data about an architecture, plus three functions with defaults that suit most models.

Importing this module, or a plugin, imports neither torch nor transformers; only calling the three functions does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mg_tui.families.contract import (
    Capability,
    CapabilityName,
    Checkpoint,
    Collator,
    Experimental,
    LoadRequest,
    Parts,
    Preprocessing,
    TokenLayout,
)
from mg_tui.hardware.model_shape import ModelShape


class LoadModel(Protocol):
    """Load the weights; the default is the Auto class for image-text-to-text."""

    def __call__(self, family: "ModelFamily", request: LoadRequest) -> Any: ...


class LoadProcessor(Protocol):
    """Load tokenizer and image processor, configured from `preprocessing`."""

    def __call__(self, family: "ModelFamily", source: str, preprocessing: Preprocessing, **hub: Any) -> Any: ...


class MakeCollator(Protocol):
    """Make the collator that training and evaluation use."""

    def __call__(
        self, family: "ModelFamily", processor: Any, preprocessing: Preprocessing, *, train_on_prompt: bool = False
    ) -> Collator: ...


def _default_load_model(family: "ModelFamily", request: LoadRequest) -> Any:
    from mg_tui.families import defaults

    return defaults.load_model(family, request)


def _default_load_processor(family: "ModelFamily", source: str, preprocessing: Preprocessing, **hub: Any) -> Any:
    from mg_tui.families import defaults

    return defaults.load_processor(family, source, preprocessing, **hub)


def _default_make_collator(
    family: "ModelFamily", processor: Any, preprocessing: Preprocessing, *, train_on_prompt: bool = False
) -> Collator:
    from mg_tui.families import defaults

    return defaults.make_collator(family, processor, preprocessing, train_on_prompt=train_on_prompt)


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """One architecture: its model types, parts, capabilities, and how it is loaded and fed.

    `key` is an identifier; `model_types` are the values of `model_type` in a checkpoint's `config.json` that select the
    family. `image_tokens(width, height, preprocessing)` counts the tokens of an image from its size alone, in pixels;
    None when that needs the processor. `layout` is required for sharing tokens between examples; without it batches are
    padded. `shape` reads the sizes that decide memory out of a `config.json`,
    raising KeyError when one is missing; None: the shape is derived from the checkpoint's files.
    """

    key: str
    title: str
    model_types: tuple[str, ...]
    parts: Parts
    checkpoints: tuple[Checkpoint, ...] = ()
    capabilities: Mapping[CapabilityName, Capability] = field(default_factory=dict)
    image_tokens: Callable[[int, int, Preprocessing], int] | None = None
    layout: TokenLayout | None = None
    shape: Callable[[Mapping[str, Any]], ModelShape] | None = None
    load_model: LoadModel = _default_load_model
    load_processor: LoadProcessor = _default_load_processor
    make_collator: MakeCollator = _default_make_collator

    @property
    def has_default_processor(self) -> bool:
        """Whether its processor is loaded as that of any model, rather than by a function of its own."""
        return self.load_processor is _default_load_processor

    def capability(self, name: CapabilityName) -> Capability:
        """The declared level of a capability; an undeclared one is experimental."""
        return self.capabilities.get(name, Experimental("not declared by the family"))

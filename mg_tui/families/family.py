"""A model family: data about an architecture, plus three functions with defaults that suit most models.

Importing this module, or a plugin, imports neither torch nor transformers; only calling the three functions does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mg_tui.families.capabilities import derive, narrower, undeclared
from mg_tui.families.contract import (
    Attention,
    Capability,
    CapabilityName,
    Checkpoint,
    Collator,
    LoadRequest,
    Parts,
    Preprocessing,
)
from mg_tui.families.image_contract import ImageSize, TinyCheckpoint, TokenLayout, Vision
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

    Attributes:
        key: an identifier.
        title: its name for messages.
        model_types: the values of `model_type` in a checkpoint's `config.json` that select the family.
        parts: which modules are language model, projector and vision tower.
        checkpoints: those that people start from.
        capabilities: exceptions. What follows from `layout` and `attention` can only be narrowed; what the kit shows
            (`capabilities.SHOWN_BY_KIT`) is supported unless it is said here that it is not.
        image_tokens: counts the tokens of an image from (width, height, preprocessing) alone, in pixels; by default
            that of `layout`, and None without one: then the processor counts.
        layout: how images become tokens and positions; without it batches are padded.
        attention: how the tokens of the language model see each other.
        vision: how images are encoded, and how their features enter the language model.
        image_size: what limits the size of an image where the processor takes no area in pixels; None: it does, or
            what it takes is found out from its class.
        shape: reads the sizes that decide memory out of a `config.json`, raising KeyError when one is missing; None:
            the shape is derived from the checkpoint's files.
        tiny: a recipe for a random checkpoint, for the conformance kit and the demo.
        llama_tokenizers: names in llama.cpp (src/llama-vocab.cpp) of rules for splitting text, by the regular
            expression in tokenizer.json: for checkpoints with a vocabulary of their own, which it does not recognize.
        load_model, load_processor, make_collator: see the protocols; the defaults suit most models.
    """

    key: str
    title: str
    model_types: tuple[str, ...]
    parts: Parts
    checkpoints: tuple[Checkpoint, ...] = ()
    capabilities: Mapping[CapabilityName, Capability] = field(default_factory=dict)
    image_tokens: Callable[[int, int, Preprocessing], int] | None = None
    layout: TokenLayout | None = None
    attention: Attention = field(default_factory=Attention)
    vision: Vision = field(default_factory=Vision)
    image_size: ImageSize | None = None
    shape: Callable[[Mapping[str, Any]], ModelShape] | None = None
    tiny: TinyCheckpoint | None = None
    llama_tokenizers: Mapping[str, str] = field(default_factory=dict)
    load_model: LoadModel = _default_load_model
    load_processor: LoadProcessor = _default_load_processor
    make_collator: MakeCollator = _default_make_collator

    def __post_init__(self) -> None:
        if self.image_tokens is None and isinstance(self.layout, TokenLayout):
            object.__setattr__(self, "image_tokens", self.layout.count)

    @property
    def has_default_processor(self) -> bool:
        """Whether its processor is loaded as that of any model, rather than by a function of its own."""
        return self.load_processor is _default_load_processor

    def capability(self, name: CapabilityName) -> Capability:
        """The level of a capability: what follows from the declaration, narrowed by what is declared.

        What a family says nothing of is as the conformance kit shows it, for families that it has a checkpoint of.
        """
        checked = self.tiny is not None or any(item.path is not None for item in self.checkpoints)
        declared = self.capabilities.get(name) or undeclared(name, checked=checked)
        return narrower(derive(name, self.title, self.layout, self.attention), declared)

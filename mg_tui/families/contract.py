"""What a model family is: data about an architecture, plus three functions with defaults that suit most.

Importing this module, or a plugin, imports neither torch nor transformers; only calling the three functions does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mg_tui.core.example import Example
from mg_tui.hardware.shape import ModelShape

if TYPE_CHECKING:
    from PIL import Image

PartName = Literal["language", "projector", "vision"]
CapabilityName = Literal[
    "lora_language",
    "lora_projector",
    "lora_vision",
    "full",
    "nf4",
    "int8",
    "multi_image",
    "merge",
    "batched_generation",
]


@dataclass(frozen=True, slots=True)
class Supported:
    """It works, and a test of the family shows it."""


@dataclass(frozen=True, slots=True)
class Experimental:
    """It may work; `why` says what is not known."""

    why: str


@dataclass(frozen=True, slots=True)
class Unsupported:
    """It is refused before a run starts; `why` is shown to the user."""

    why: str


Capability = Supported | Experimental | Unsupported


@dataclass(frozen=True, slots=True)
class Parts:
    """Where a model's parts live: prefixes of module names, as in `model.named_modules()` of the loaded model.

    A longer prefix wins over a shorter one, so that a projector inside the vision tower (`model.visual.merger`) is
    told from the tower (`model.visual`).
    """

    language: tuple[str, ...]
    projector: tuple[str, ...]
    vision: tuple[str, ...]

    def of(self, module_name: str) -> PartName | None:
        """The part that a module or parameter belongs to, by its dotted name; None when it is in none of them."""
        prefixes: list[tuple[str, PartName]] = [
            *((prefix, "language") for prefix in self.language),
            *((prefix, "projector") for prefix in self.projector),
            *((prefix, "vision") for prefix in self.vision),
        ]
        best = max(
            ((p, part) for p, part in prefixes if module_name == p or module_name.startswith(p + ".")),
            key=lambda item: len(item[0]),
            default=None,
        )
        return best[1] if best else None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint people start from.

    `name` is what `--base-model` takes: a hub name or a short alias. `path` is the local folder of a checkpoint that
    comes with the plugin, else None. `parameters` counts weights. `config` has what `ModelFamily.shape` reads of its
    `config.json`, so that its memory can be estimated before anything is downloaded.
    """

    name: str
    title: str
    parameters: int
    note: str = ""
    path: Path | None = None
    config: Mapping[str, Any] | None = field(default=None, hash=False, repr=False)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How text and pictures become model input: saved with a result, and used alike by training, chat and serving."""

    min_pixels: int
    max_pixels: int
    system_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """How to load a model: `source` is a local folder or a hub name; dtype and device are torch's names for them."""

    source: str
    dtype: Literal["bfloat16", "float16", "float32"]
    device: str
    quantization: Literal["nf4", "int8", "none"] = "none"
    attention: str = "sdpa"
    revision: str | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """How pictures become tokens, for families whose text and pictures can be encoded apart (see `apart`).

    Attributes:
        grid: (width, height, preprocessing) of a picture, in pixels, to the rows and columns of its tokens.
        positions: position ids of a sequence given as runs, each a number of text tokens or the (rows, columns) of a
            picture: one sequence of integers for each axis (one, or three for M-RoPE), a number for each token.
    """

    grid: Callable[[int, int, Preprocessing], tuple[int, int]]
    positions: Callable[[Sequence[int | tuple[int, int]]], Sequence[Sequence[int]]]


# A batch is what the model's forward takes, by name, plus `labels`; tensors on the CPU.
Batch = dict[str, Any]


class Collator(Protocol):
    """Examples and their pictures to one padded batch."""

    def __call__(self, examples: Sequence[Example], images: Sequence[Sequence["Image.Image"]]) -> Batch:
        """Lay out `examples` side by side.

        Args:
            examples: the conversations, each ending in an answer.
            images: for each example its pictures, RGB, in the order of `example.images`.

        Returns:
            The forward's arguments, `input_ids` and `labels` of shape (examples, tokens): `labels` equals `input_ids`
            on tokens to be learned and is -100 elsewhere.
        """
        ...


class LoadModel(Protocol):
    """Load the weights; the default is the Auto class for image-text-to-text."""

    def __call__(self, family: "ModelFamily", request: LoadRequest) -> Any: ...


class LoadProcessor(Protocol):
    """Load tokenizer and image processor, set up as `preprocessing` says."""

    def __call__(self, family: "ModelFamily", source: str, preprocessing: Preprocessing, **hub: Any) -> Any: ...


class MakeCollator(Protocol):
    """Make the collator that training and evaluation use."""

    def __call__(
        self, family: "ModelFamily", processor: Any, preprocessing: Preprocessing, *, train_on_prompt: bool = False
    ) -> Collator: ...


def _load_model(family: "ModelFamily", request: LoadRequest) -> Any:
    from mg_tui.families import defaults

    return defaults.load_model(family, request)


def _load_processor(family: "ModelFamily", source: str, preprocessing: Preprocessing, **hub: Any) -> Any:
    from mg_tui.families import defaults

    return defaults.load_processor(family, source, preprocessing, **hub)


def _make_collator(
    family: "ModelFamily", processor: Any, preprocessing: Preprocessing, *, train_on_prompt: bool = False
) -> Collator:
    from mg_tui.families import defaults

    return defaults.make_collator(family, processor, preprocessing, train_on_prompt=train_on_prompt)


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """One architecture: who it is, where its parts live, what works, and how it is loaded and fed.

    `key` is an identifier; `model_types` are the values of `model_type` in a checkpoint's `config.json` that select the
    family. `image_tokens(width, height, preprocessing)` counts the tokens of a picture from its size alone, in pixels;
    None when the family cannot tell without its processor. `layout` is what sharing tokens between examples needs; None
    when the family leaves that to padded batches. `shape` reads the sizes that decide memory out of a `config.json`,
    raising KeyError when one is missing; None leaves it to a general reading of the checkpoint's files.
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
    load_model: LoadModel = _load_model
    load_processor: LoadProcessor = _load_processor
    make_collator: MakeCollator = _make_collator

    def capability(self, name: CapabilityName) -> Capability:
        """What the family says of a capability; one it does not mention is experimental."""
        return self.capabilities.get(name, Experimental("the family does not say"))

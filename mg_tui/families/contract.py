"""What a model family is described with: parts, checkpoints, capabilities, attention, batches.

`mg_tui.families.family` puts them together into a `ModelFamily`; what concerns images is in `image_contract`. What
feeds a model (`collate`, `split_encoding`,
`defaults`) needs only the properties of `FamilyInfo`, so that none of it imports the family's own defaults back.
Importing this module imports neither torch nor transformers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from mg_tui.core.example import Example
from mg_tui.core.model_parts import PartName
from mg_tui.core.precision import DTypeName, QuantizationName
from mg_tui.core.preprocessing import Preprocessing as Preprocessing

if TYPE_CHECKING:
    from PIL import Image

    from mg_tui.families.image_contract import ImageSize, TokenLayout, Vision

# Increased when a plugin that was written for an older contract would no longer work. A plugin's module says which one
# it was written for in a constant of the same name; without it, nothing is compared.
CONTRACT_VERSION: Final = 2

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
    "shared_prefixes",
    "packing",
    "kept_features",
    "vllm_adapter",
    "vllm_tower_adapter",
    "gguf",
]
# How the tokens of the language model see each other:
#   causal        each sees those before it
#   image_blocks  the feature tokens of an image also see each other, in both directions
#   prefix_lm     the whole prompt sees itself, in both directions
#   cross         images are no tokens: layers of their own attend to them
#   recurrent     some layers carry a state from token to token, or mix neighbors (linear attention, short convolutions)
AttentionKind = Literal["causal", "image_blocks", "prefix_lm", "cross", "recurrent"]


@dataclass(frozen=True, slots=True)
class Supported:
    """It works, and a test of the family shows it."""


@dataclass(frozen=True, slots=True)
class Experimental:
    """It may work; `why` states what is unverified."""

    why: str


@dataclass(frozen=True, slots=True)
class Unsupported:
    """It is refused before a run starts; `why` is shown to the user."""

    why: str


Capability = Supported | Experimental | Unsupported


@dataclass(frozen=True, slots=True)
class Attention:
    """How tokens of the language model see each other.

    Attributes:
        kind: see `AttentionKind`.
        windows: some layers see only the last tokens. The window is counted along an example's own tokens, never by
            places in a packed pass; its size is the model's.
        why: which layers make it so, for the reason of what is not supported; a plain sentence without a period.
    """

    kind: AttentionKind = "causal"
    windows: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """The modules of each part: prefixes of module names, as in `model.named_modules()` of the loaded model.

    A longer prefix wins over a shorter one, so that a projector inside the vision tower (`model.visual.merger`) is
    distinguished from the tower (`model.visual`).
    """

    language: tuple[str, ...]
    projector: tuple[str, ...]
    vision: tuple[str, ...]

    def part_of(self, module_name: str) -> PartName | None:
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

    `name` is a value of `--base-model`: a Hub name or a short alias. `path` is the local folder of a checkpoint that
    comes with the plugin, else None. `parameters` counts weights. `config` has the keys of its `config.json`
    that `ModelFamily.shape` reads, so that memory can be estimated before a download.
    """

    name: str
    title: str
    parameters: int
    note: str = ""
    path: Path | None = None
    config: Mapping[str, Any] | None = field(default=None, hash=False, repr=False)


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """How to load a model: `source` is a local folder or a Hub name; dtype and device are torch's names."""

    source: str
    dtype: DTypeName
    device: str
    quantization: QuantizationName = "none"
    attention: str = "sdpa"
    revision: str | None = None
    trust_remote_code: bool = False


# A batch is what the model's forward takes, by name, plus `labels`; tensors on the CPU.
Batch = dict[str, Any]


class Collator(Protocol):
    """Examples and their images to one padded batch."""

    def __call__(self, examples: Sequence[Example], images: Sequence[Sequence["Image.Image"]]) -> Batch:
        """Encode `examples` as a padded batch.

        Args:
            examples: the conversations, each ending in an answer.
            images: for each example its images, RGB, in the order of `example.images`.

        Returns:
            The forward's arguments, `input_ids` and `labels` of shape (examples, tokens): `labels` equals `input_ids`
            on supervised tokens and is -100 elsewhere.
        """
        ...


class FamilyInfo(Protocol):
    """The read-only properties of a `ModelFamily` that loading and collating use."""

    @property
    def key(self) -> str:
        """The family's identifier."""

    @property
    def title(self) -> str:
        """The family's name for messages."""

    @property
    def parts(self) -> Parts:
        """Module-name prefixes of the model's parts."""

    @property
    def image_tokens(self) -> Callable[[int, int, Preprocessing], int] | None:
        """(width, height, preprocessing) of an image, in pixels, to its number of tokens."""

    @property
    def layout(self) -> "TokenLayout | None":
        """How images become tokens, where text and images can be encoded separately."""

    @property
    def attention(self) -> Attention:
        """How the tokens of the language model see each other."""

    @property
    def vision(self) -> "Vision":
        """How images are encoded, and how their features enter the language model."""

    @property
    def image_size(self) -> "ImageSize | None":
        """What limits the size of an image, where it is not its area in pixels."""

    def capability(self, name: CapabilityName) -> Capability:
        """The declared level of a capability."""

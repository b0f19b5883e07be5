"""What a family says about images: their tokens and positions, how they are encoded, what limits their size.

Everything here is arithmetic or data; the functions that need torch are called by the engine and import it themselves
(see `image_features`). Importing this module imports neither torch nor transformers.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from mg_tui.core.preprocessing import Preprocessing

Grid = tuple[int, int]  # rows and columns of feature tokens; (1, n) where they have no shape
ImagePiece = str | Grid  # text, or feature tokens
Run = int | Grid  # a number of text tokens, or the feature tokens of (a piece of) an image
ImageInputs = Mapping[str, Any]  # what the image processor makes of one image, by name
# Added tokens as checkpoints write them (<image>, <|vision_start|>, [IMG_BREAK]), white space, or single characters.
_TEXT_TOKEN: Final = re.compile(r"<[^<>\s]+>|\[[A-Z_]+\]|\s+|.", re.DOTALL)


def sequential_positions(runs: Sequence[Run]) -> list[list[int]]:
    """One axis that counts all tokens: of models without positions of their own for images."""
    return [list(range(sum(count_run(run) for run in runs)))]


def grid_positions(runs: Sequence[Run]) -> list[list[int]]:
    """Three axes (time, row, column), as models with M-RoPE count; interleaved M-RoPE takes the same numbers.

    As `get_rope_index` of the models in transformers that have one: text counts up on all three axes, an
    image's tokens share one time index and count rows and columns from there, and the following tokens start after its
    longer side.
    """
    time: list[int] = []
    row: list[int] = []
    column: list[int] = []
    start = 0
    for run in runs:
        if isinstance(run, int):
            for axis in (time, row, column):
                axis += range(start, start + run)
            start += run
        else:
            rows, columns = run
            time += [start] * (rows * columns)
            row += [start + r for r in range(rows) for _ in range(columns)]
            column += [start + c for _ in range(rows) for c in range(columns)]
            start += max(rows, columns)
    return [time, row, column]


def count_run(run: Run) -> int:
    """Tokens of a run."""
    return run if isinstance(run, int) else run[0] * run[1]


def count_text(text: str) -> int:
    """Tokens of text between tiles: added tokens, white space and single characters are one token each."""
    return len(_TEXT_TOKEN.findall(text))


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """How images become tokens, for families whose text and images can be encoded separately (`split_encoding`).

    Exactly one of `grid` and `pieces` is given.

    Attributes:
        grid: (width, height, preprocessing) of an image, in pixels, to the rows and columns of its feature tokens, for
            families that put feature tokens alone in place of the template's token.
        positions: position ids of a sequence given as runs, each a number of text tokens or the (rows, columns) of
            feature tokens: one sequence of integers per axis, one number per token.
        pieces: (width, height, preprocessing) to what replaces the template's token for an image: feature tokens, and
            the text between them (row breaks, tile markers, thumbnails). Text is never supervised.
        feature_token: the token that stands for a feature, where it is not the one that the template writes.
        resized: (width, height, preprocessing) to the (width, height) that the processor makes of an image, where
            coordinates in answers refer to it; None where they do not.
        count_text: tokens of a text of `pieces`; the default knows added tokens and white space.
    """

    grid: Callable[[int, int, Preprocessing], Grid] | None = None
    positions: Callable[[Sequence[Run]], Sequence[Sequence[int]]] = sequential_positions
    pieces: Callable[[int, int, Preprocessing], Sequence[ImagePiece]] | None = None
    feature_token: str | None = None
    resized: Callable[[int, int, Preprocessing], tuple[int, int]] | None = None
    count_text: Callable[[str], int] = count_text

    def image_pieces(self, width: int, height: int, preprocessing: Preprocessing) -> tuple[ImagePiece, ...]:
        """What replaces the template's token for an image of this size, in pixels.

        Raises:
            DataError: the family does not take an image of this size.
        """
        if self.pieces is not None:
            return tuple(self.pieces(width, height, preprocessing))
        assert self.grid is not None
        return (self.grid(width, height, preprocessing),)

    def count(self, width: int, height: int, preprocessing: Preprocessing) -> int:
        """Tokens that replace the template's token for an image of this size; raises as `image_pieces` does."""
        return count_pieces(self, self.image_pieces(width, height, preprocessing))


def count_pieces(layout: TokenLayout, pieces: Sequence[ImagePiece]) -> int:
    """Tokens of an image's pieces, text included."""
    return sum(layout.count_text(piece) if isinstance(piece, str) else count_run(piece) for piece in pieces)


def count_features(pieces: Sequence[ImagePiece]) -> int:
    """Feature tokens of an image's pieces."""
    return sum(count_run(piece) for piece in pieces if not isinstance(piece, str))


@dataclass(frozen=True, slots=True)
class Vision:
    """How images are encoded, and how their features enter the language model.

    The features of an image are one tensor (feature tokens, width x (1 + companions)): what replaces the embeddings of
    its tokens, and beside it the companions, which the model adds to the hidden states of its first layers (deepstack).
    A frozen tower's features are kept in this form, in memory and on disk.

    Attributes:
        inputs: names of the image processor's outputs that `get_image_features` takes; the first are the pixels.
        together: the inputs of several images may be concatenated along their first axis and encoded in one call.
        features: the form in which the model's forward takes features: a list with a tensor for each image, or one
            tensor (feature tokens, width) for all.
        companions: name of the field of the encoder's output with the companions, a list of tensors; None for none.
        encode: (model, this, images' inputs) to the features of each image; None: `image_features.encode` by the
            fields above. Called with or without a graph.
        insert: (model, this, features of the images in the order of their places) to arguments of the forward; None:
            `image_features.insert`.
    """

    inputs: tuple[str, ...] = ("pixel_values",)
    together: bool = True
    features: Literal["list", "tensor"] = "list"
    companions: str | None = None
    encode: "Callable[[Any, Vision, Sequence[ImageInputs]], list[Any]] | None" = None
    insert: "Callable[[Any, Vision, Sequence[Any]], dict[str, Any]] | None" = None


@dataclass(frozen=True, slots=True)
class ImageSize:
    """What limits the size of an image in a family whose processor takes no area in pixels.

    Attributes:
        knob: the family's own setting and where it is, for messages: "do_pan_and_scan in processor_config.json".
        translate: (limits that were asked for, by name; the checkpoint's settings, by name) to settings of the image
            processor that keep images within the limits; raises FamilyError where none does. Called only for limits
            that differ from their defaults, so that the checkpoint's own settings hold otherwise. None: the flags are
            refused, with `knob` in the message.
        translated: which of `min_pixels` and `max_pixels` it takes; the other one is refused.
    """

    knob: str
    translate: Callable[[Mapping[str, int], Mapping[str, Any]], Mapping[str, Any]] | None = None
    translated: tuple[str, ...] = ("max_pixels",)


@dataclass(frozen=True, slots=True)
class TinyCheckpoint:
    """A recipe for a random checkpoint with the family's real classes at a small size, made without a download.

    Used by the conformance kit, the demo and tests (see `tiny_checkpoints`).

    Attributes:
        config: keys of its `config.json`; `vocab_size` of the text part is filled in.
        processor: name of the processor's class in transformers, and its options.
        image_processor: name of the image processor's class, and its options.
        template: the chat template.
        tokens: added tokens by the name that the tokenizer has for them (`image_token`, `boi_token`, ...).
        added: other added tokens, which the template or the processor writes.
        token_ids: keys of the configuration (dotted where nested) to tokens: their ids are filled in.
        others: further parts of the processor by argument, each a class name and options (`video_processor`).
        text_config: key of the configuration with the text part; "" when it is not nested.
    """

    config: Mapping[str, Any]
    processor: tuple[str, Mapping[str, Any]]
    image_processor: tuple[str, Mapping[str, Any]]
    template: str
    tokens: Mapping[str, str]
    added: tuple[str, ...] = ()
    token_ids: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    text_config: str = "text_config"

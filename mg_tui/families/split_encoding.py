"""Encodes text and images separately, for steps whose examples share tokens or images.

`ExampleEncoder` passes a whole batch to the family's processor, which processes an image once per example that contains
it. A family may therefore declare what an image becomes (`ModelFamily.layout`): then text is encoded from image sizes
alone, and each distinct image once. Tests compare tokens, labels and positions of both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mg_tui.core.errors import FamilyError
from mg_tui.core.example import Example
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.image_contract import Grid, ImagePiece, Run, TokenLayout

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class SplitTokens:
    """The tokens of an example whose images are known by size only.

    Attributes:
        ids: token ids, images' tokens included.
        supervised: for each token whether it is supervised.
        image_index: for each feature token the index of its image, in the order of the example; -1 for other tokens,
            those between an image's tiles included.
        blocks: for each feature token a number that the tokens of its run share, from 0; -1 for other tokens.
        positions: per axis of the position ids (one, or three for M-RoPE) one number per token.
    """

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    image_index: tuple[int, ...]
    blocks: tuple[int, ...]
    positions: tuple[tuple[int, ...], ...]


def find_image_starts(image_index: Sequence[int]) -> list[tuple[int, int]]:
    """(token, image) of the first feature token of each image, in order; see `SplitTokens.image_index`."""
    starts: dict[int, int] = {}
    for at, image in enumerate(image_index):
        if image >= 0:
            starts.setdefault(image, at)
    return [(at, image) for image, at in starts.items()]


class SplitEncoder:
    """Encodes text and images separately with the tokenizer and image processor of an `ExampleEncoder`.

    Raises:
        FamilyError: the family has no token layout.
    """

    def __init__(self, encoder: ExampleEncoder):
        layout = encoder.family.layout
        if layout is None:
            raise FamilyError(
                f"{encoder.family.title}: text and images cannot be encoded separately",
                why="the family defines no token layout",
            )
        self.encoder = encoder
        self.layout: TokenLayout = layout
        self.feature_token_id = encoder.feature_token_id

    def text(self, example: Example, sizes: Sequence[tuple[int, int]]) -> SplitTokens:
        """The tokens of an example whose images have these sizes (width, height), in pixels.

        Raises:
            DataError: the row cannot be encoded, and is named.
            FamilyError: the template does not write one token per image.
        """
        pieces = self._pieces(sizes)
        return self._expand(*self.encoder.tokenize_with_supervision(example, pieces), pieces, example.row)

    def prompt(self, example: Example, sizes: Sequence[tuple[int, int]]) -> SplitTokens:
        """The tokens of an example's prompt, without the answer it ends in; none is supervised. Raises as `text` does.

        Args:
            example: the conversation.
            sizes: (width, height) in pixels of the images in `example.prompt`.
        """
        pieces = self._pieces(sizes)
        ids = self.encoder.tokenize_prompt(example.prompt, pieces, row=example.row)
        return self._expand(ids, [False] * len(ids), pieces, example.row)

    def _pieces(self, sizes: Sequence[tuple[int, int]]) -> list[tuple[ImagePiece, ...]]:
        return [self.layout.image_pieces(width, height, self.encoder.preprocessing) for width, height in sizes]

    def _expand(
        self, ids: list[int], supervised: Sequence[bool], images: Sequence[Sequence[ImagePiece]], row: int
    ) -> SplitTokens:
        """Replace the one token of each run of feature tokens by as many as it has."""
        grids: list[tuple[int, Grid]] = [
            (image, piece) for image, pieces in enumerate(images) for piece in pieces if not isinstance(piece, str)
        ]
        if ids.count(self.feature_token_id) != len(grids):
            raise FamilyError(
                f"{self.encoder.family.title}: row {row} shows {len(images)} images, and its text has "
                f"{ids.count(self.feature_token_id)} places for {len(grids)} runs of their tokens"
            )
        out_ids: list[int] = []
        out_supervised: list[bool] = []
        image_index: list[int] = []
        blocks: list[int] = []
        runs: list[Run] = []
        block = 0
        for token, is_supervised in zip(ids, supervised, strict=True):
            if token == self.feature_token_id:
                image, (rows, columns) = grids[block]
                count = rows * columns
                out_ids += [token] * count
                out_supervised += [False] * count
                image_index += [image] * count
                blocks += [block] * count
                runs.append((rows, columns))
                block += 1
            else:
                out_ids.append(token)
                out_supervised.append(is_supervised)
                image_index.append(-1)
                blocks.append(-1)
                if runs and isinstance(runs[-1], int):
                    runs[-1] += 1
                else:
                    runs.append(1)
        positions = tuple(map(tuple, self.layout.positions(runs)))
        return SplitTokens(tuple(out_ids), tuple(out_supervised), tuple(image_index), tuple(blocks), positions)

    def encode_image(self, image: "Image.Image") -> Mapping[str, Any]:
        """What the family's tower takes for one image (`pixel_values`, ...), each with one image's rows first."""
        outputs = self.encoder.processor.image_processor(images=[image], return_tensors="pt")
        return {name: outputs[name] for name in self.encoder.family.vision.inputs}

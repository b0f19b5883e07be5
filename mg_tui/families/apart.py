"""Text and pictures encoded apart, for steps whose examples share tokens or pictures.

`ExampleEncoder` gives a whole batch to the family's processor. Where a picture is shown by several examples that does
its work several times, so a family may say how many tokens a picture has and which positions they get
(`ModelFamily.layout`); then the text is encoded from picture sizes alone, and each distinct picture once. Tests hold
that both ways give the same tokens, labels and positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mg_tui.core.errors import FamilyError
from mg_tui.core.example import Example
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.contract import TokenLayout

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The tokens of an example whose pictures are known by size only.

    Attributes:
        ids: token ids, pictures' tokens included.
        learned: for each token whether it is learned.
        picture: for each token the index of the picture it belongs to, in the order of the example, or -1.
        positions: for each axis of the position ids (one, or three for M-RoPE) a number for each token.
    """

    ids: tuple[int, ...]
    learned: tuple[bool, ...]
    picture: tuple[int, ...]
    positions: tuple[tuple[int, ...], ...]


class ApartEncoder:
    """Encodes text and pictures apart with the tokenizer and image processor of an `ExampleEncoder`.

    Raises:
        FamilyError: the family does not say how its pictures are laid out.
    """

    def __init__(self, encoder: ExampleEncoder):
        layout = encoder.family.layout
        if layout is None:
            raise FamilyError(
                f"{encoder.family.title}: text and pictures cannot be encoded apart",
                why="the family does not say how many tokens a picture has and which positions they get",
            )
        self.encoder = encoder
        self.layout: TokenLayout = layout
        self.picture_token = int(encoder.processor.image_token_id)

    def text(self, example: Example, sizes: Sequence[tuple[int, int]]) -> Skeleton:
        """The tokens of an example whose pictures have these sizes (width, height), in pixels.

        Raises:
            DataError: the row cannot be encoded, and is named.
            FamilyError: the template does not show each picture by one token.
        """
        return self._with_images(*self.encoder.marked_tokens(example), sizes, example.row)

    def prompt(self, example: Example, sizes: Sequence[tuple[int, int]]) -> Skeleton:
        """The tokens an answer to `example` is generated from, without the answer it ends in; arguments and errors as
        `text`. None of them is learned.

        Args:
            example: its answer, if it has one, is left out.
            sizes: of the images in `example.prompt`, (width, height) in pixels.
        """
        ids = self.encoder.prompt_tokens(example.prompt, row=example.row)
        return self._with_images(ids, [False] * len(ids), sizes, example.row)

    def _with_images(
        self, ids: list[int], learned: Sequence[bool], sizes: Sequence[tuple[int, int]], row: int
    ) -> Skeleton:
        """Tokens with one for each image become tokens with as many as its size makes."""
        grids = [self.layout.grid(width, height, self.encoder.preprocessing) for width, height in sizes]
        if ids.count(self.picture_token) != len(grids):
            raise FamilyError(
                f"{self.encoder.family.title}: row {row} shows {len(grids)} pictures, and its text has "
                f"{ids.count(self.picture_token)} places for them"
            )
        out_ids: list[int] = []
        out_learned: list[bool] = []
        picture: list[int] = []
        runs: list[int | tuple[int, int]] = []
        shown = 0
        for token, learn in zip(ids, learned, strict=True):
            if token == self.picture_token:
                rows, columns = grids[shown]
                out_ids += [token] * (rows * columns)
                out_learned += [False] * (rows * columns)
                picture += [shown] * (rows * columns)
                runs.append((rows, columns))
                shown += 1
            else:
                out_ids.append(token)
                out_learned.append(learn)
                picture.append(-1)
                if runs and isinstance(runs[-1], int):
                    runs[-1] += 1
                else:
                    runs.append(1)
        positions = tuple(map(tuple, self.layout.positions(runs)))
        return Skeleton(tuple(out_ids), tuple(out_learned), tuple(picture), positions)

    def picture(self, image: "Image.Image") -> Mapping[str, Any]:
        """What the model's forward takes for one picture (`pixel_values`, ...), each with one picture's rows first."""
        return dict(self.encoder.processor.image_processor(images=[image], return_tensors="pt"))

"""Encodes text and images separately, for steps whose examples share tokens or images.

`ExampleEncoder` passes a whole batch to the family's processor, which processes an image once per example that contains
it. A family may therefore declare how many tokens an image has and which positions they get (`ModelFamily.layout`);
then text is encoded from image sizes alone, and each distinct image once. Tests compare tokens, labels and positions of
both.
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
class SplitTokens:
    """The tokens of an example whose images are known by size only.

    Attributes:
        ids: token ids, images' tokens included.
        supervised: for each token whether it is supervised.
        image_index: for each token the index of its image, in the order of the example, or -1.
        positions: per axis of the position ids (one, or three for M-RoPE) one number per token.
    """

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    image_index: tuple[int, ...]
    positions: tuple[tuple[int, ...], ...]


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
        self.image_token_id = int(encoder.processor.image_token_id)

    def text(self, example: Example, sizes: Sequence[tuple[int, int]]) -> SplitTokens:
        """The tokens of an example whose images have these sizes (width, height), in pixels.

        Raises:
            DataError: the row cannot be encoded, and is named.
            FamilyError: the template does not write one token per image.
        """
        return self._expand_images(*self.encoder.tokenize_with_supervision(example), sizes, example.row)

    def prompt(self, example: Example, sizes: Sequence[tuple[int, int]]) -> SplitTokens:
        """The tokens of an example's prompt, without the answer it ends in; none is supervised. Raises as `text` does.

        Args:
            example: the conversation.
            sizes: (width, height) in pixels of the images in `example.prompt`.
        """
        ids = self.encoder.tokenize_prompt(example.prompt, row=example.row)
        return self._expand_images(ids, [False] * len(ids), sizes, example.row)

    def _expand_images(
        self, ids: list[int], supervised: Sequence[bool], sizes: Sequence[tuple[int, int]], row: int
    ) -> SplitTokens:
        """Replace the one token of each image by as many as its size needs."""
        grids = [self.layout.grid(width, height, self.encoder.preprocessing) for width, height in sizes]
        if ids.count(self.image_token_id) != len(grids):
            raise FamilyError(
                f"{self.encoder.family.title}: row {row} shows {len(grids)} images, and its text has "
                f"{ids.count(self.image_token_id)} places for them"
            )
        out_ids: list[int] = []
        out_supervised: list[bool] = []
        image: list[int] = []
        runs: list[int | tuple[int, int]] = []
        image_count = 0
        for token, is_supervised in zip(ids, supervised, strict=True):
            if token == self.image_token_id:
                rows, columns = grids[image_count]
                out_ids += [token] * (rows * columns)
                out_supervised += [False] * (rows * columns)
                image += [image_count] * (rows * columns)
                runs.append((rows, columns))
                image_count += 1
            else:
                out_ids.append(token)
                out_supervised.append(is_supervised)
                image.append(-1)
                if runs and isinstance(runs[-1], int):
                    runs[-1] += 1
                else:
                    runs.append(1)
        positions = tuple(map(tuple, self.layout.positions(runs)))
        return SplitTokens(tuple(out_ids), tuple(out_supervised), tuple(image), positions)

    def encode_image(self, image: "Image.Image") -> Mapping[str, Any]:
        """What the model's forward takes for one image (`pixel_values`, ...), each with one image's rows first."""
        return dict(self.encoder.processor.image_processor(images=[image], return_tensors="pt"))

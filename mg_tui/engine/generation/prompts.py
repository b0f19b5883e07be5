"""Prompts as tokens, positions and images; computed from image sizes alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from mg_tui.core.errors import DataError, GardenError
from mg_tui.core.example import Example, ImagePart, ImageRef
from mg_tui.families.split_encoding import SplitEncoder


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt of one row.

    Attributes:
        index: of the row among the given examples.
        example: the row.
        ids: (n,) token ids.
        positions: n numbers per axis of the position ids.
        key: (n,) ids with the tokens of each distinct image replaced by a negative number.
        image_index: (n,) for each token the index in `images` of its image, or -1.
        images: paths, in the order of the prompt.
        sizes: (width, height) of the images in pixels.
        blocks: (n,) see `SplitTokens`.
        resized: (width, height) in pixels that each image is resized to, None where that does not matter.
        next_position: of the first generated token, on all axes: one more than the largest position, as in
            `get_rope_index` of transformers' models, where `rope_deltas` is this minus the number of tokens.
    """

    index: int
    example: Example
    ids: tuple[int, ...]
    positions: tuple[tuple[int, ...], ...]
    key: tuple[int, ...]
    image_index: tuple[int, ...]
    images: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    blocks: tuple[int, ...]
    resized: tuple[tuple[int, int] | None, ...]
    next_position: int


def image_refs(example: Example) -> list[ImageRef]:
    """The images of an example's prompt, in order."""
    return [part.image for message in example.prompt for part in message.parts if isinstance(part, ImagePart)]


@dataclass(slots=True)
class PromptEncoder:
    """Encodes prompts; `image_size` returns (width, height) in pixels for a path and is called once per path."""

    encoder: SplitEncoder
    image_size: Callable[[str], tuple[int, int]]
    _sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _next_number: Iterator[int] = field(default_factory=count)

    def __call__(self, index: int, example: Example) -> Prompt:
        """The prompt of a row.

        Raises:
            DataError: an image cannot be read, or the row cannot be encoded; the row is named.
        """
        images = [ref.path for ref in image_refs(example)]
        try:
            sizes = [self._size(path) for path in images]
            tokens = self.encoder.prompt(example, sizes)
        except GardenError as error:
            raise name_row(error, example.row) from error
        numbers = [self._number(path) for path in images]
        layout, preprocessing = self.encoder.layout, self.encoder.encoder.preprocessing
        return Prompt(
            index=index,
            example=example,
            ids=tokens.ids,
            positions=tokens.positions,
            key=_merge_key(tokens.ids, tokens.image_index, numbers),
            image_index=tokens.image_index,
            images=tuple(images),
            sizes=tuple(sizes),
            blocks=tokens.blocks,
            resized=tuple(layout.resized(*size, preprocessing) if layout.resized else None for size in sizes),
            next_position=max(map(max, tokens.positions)) + 1,
        )

    def forget(self, path: str) -> None:
        """Forget an image; shown again, it is another one."""
        self._sizes.pop(path, None)
        self._numbers.pop(path, None)

    def _number(self, path: str) -> int:
        # Never one that was used before, even if its image has been forgotten: a prompt with it may still be waiting.
        if path not in self._numbers:
            self._numbers[path] = next(self._next_number)
        return self._numbers[path]

    def _size(self, path: str) -> tuple[int, int]:
        if path not in self._sizes:
            self._sizes[path] = self.image_size(path)
        return self._sizes[path]


def read_image_size(path: str) -> tuple[int, int]:
    """Width and height of an image in pixels, from its header.

    Raises:
        DataError: it cannot be read.
    """
    from mg_tui.data.images import probe_image

    info = probe_image(path)
    return info.width, info.height


def name_row(error: GardenError, row: int) -> GardenError:
    """The error with the row's number, unless it names the row already."""
    if f"row {row}" in error.what:
        return error
    return DataError(f"row {row}: {error.what}", where=error.where, why=error.why, hint=error.hint)


def _merge_key(ids: Sequence[int], image_index: Sequence[int], numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(token if image < 0 else -1 - numbers[image] for token, image in zip(ids, image_index, strict=True))

"""Rows as prompts: tokens, positions, and which image each token belongs to, known from image sizes alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mg_tui.core.errors import DataError, GardenError
from mg_tui.core.example import Example, ImagePart, ImageRef
from mg_tui.families.apart import ApartEncoder


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a row's answer is generated from.

    Attributes:
        index: of the row among those that were given.
        example: the row.
        ids: (n,) token ids.
        positions: for each axis of the position ids n numbers.
        key: (n,) ids, an image's tokens replaced by a negative number of their own for each distinct image.
        shown: (n,) for each token the index in `images` of the image it belongs to, or -1.
        images: paths, in the order the prompt shows them.
        sizes: of the images, (width, height) in pixels.
        grids: of the images, (rows, columns) of tokens.
        next_position: of the first generated token, on all axes: one beyond the largest so far, as in `get_rope_index`
            of transformers' Qwen2.5-VL, whose `rope_deltas` is this less the number of tokens.
    """

    index: int
    example: Example
    ids: tuple[int, ...]
    positions: tuple[tuple[int, ...], ...]
    key: tuple[int, ...]
    shown: tuple[int, ...]
    images: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    grids: tuple[tuple[int, int], ...]
    next_position: int


def image_refs(example: Example) -> list[ImageRef]:
    """The images of an example's prompt, in the order it shows them."""
    return [part.image for message in example.prompt for part in message.parts if isinstance(part, ImagePart)]


@dataclass(slots=True)
class PromptEncoder:
    """Makes prompts; each image's header is read once. `size_of` gives (width, height) in pixels of a path."""

    apart: ApartEncoder
    size_of: Callable[[str], tuple[int, int]]
    _sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def __call__(self, index: int, example: Example) -> Prompt:
        """The prompt of a row.

        Raises:
            DataError: an image cannot be read, or the row cannot be encoded; the row is named.
        """
        images = [ref.path for ref in image_refs(example)]
        try:
            sizes = [self._size(path) for path in images]
            skeleton = self.apart.prompt(example, sizes)
        except GardenError as error:
            raise _named(error, example.row) from error
        numbers = [self._numbers.setdefault(path, len(self._numbers)) for path in images]
        layout, limits = self.apart.layout, self.apart.encoder.preprocessing
        return Prompt(
            index=index,
            example=example,
            ids=skeleton.ids,
            positions=skeleton.positions,
            key=_key(skeleton.ids, skeleton.picture, numbers),
            shown=skeleton.picture,
            images=tuple(images),
            sizes=tuple(sizes),
            grids=tuple(layout.grid(*size, limits) for size in sizes),
            next_position=max(map(max, skeleton.positions)) + 1,
        )

    def _size(self, path: str) -> tuple[int, int]:
        if path not in self._sizes:
            self._sizes[path] = self.size_of(path)
        return self._sizes[path]


def header_size(path: str) -> tuple[int, int]:
    """Width and height of an image in pixels, by its header.

    Raises:
        DataError: it cannot be read.
    """
    from mg_tui.data.images import probe_image

    info = probe_image(path)
    return info.width, info.height


def _key(ids: Sequence[int], shown: Sequence[int], numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(token if at < 0 else -1 - numbers[at] for token, at in zip(ids, shown, strict=True))


def _named(error: GardenError, row: int) -> GardenError:
    """The error with its row, where it does not name it yet."""
    if f"row {row}" in error.what:
        return error
    return DataError(f"row {row}: {error.what}", where=error.where, why=error.why, hint=error.hint)

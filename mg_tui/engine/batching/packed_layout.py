"""The packed layout of a step: each shared token laid out once, each distinct image preprocessed once.

The inputs of a forward pass of L places (see `trie`): `input_ids` (1, L), `position_ids` (axes, 1, L) as every example
has them alone, and `tree_paths` (1 or 3, L), of which the attention mask is made: where the subtree of each place ends
and, for families whose attention depends on more, its depth (the number of tokens before it in its own example) and the
block of feature tokens it is in (-1: none). A place may predict several next tokens where examples branch, so it may
occur more than once among the supervised positions.
"""

import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mg_tui.core.example import Example
from mg_tui.engine.batching.batches import MicroBatch
from mg_tui.engine.batching.feature_cache import CachedImage, FeatureCache
from mg_tui.engine.batching.image_rows import join_images
from mg_tui.engine.batching.pixel_codec import PixelCodec, decode_pixels
from mg_tui.engine.compute.attention import visibility_mask
from mg_tui.engine.layout.packing import pack
from mg_tui.engine.layout.trie import Trie, build_trie
from mg_tui.families.contract import Attention
from mg_tui.families.split_encoding import SplitEncoder, SplitTokens, find_image_starts

TREE_PATHS = "tree_paths"
IMAGE_ORDER = "image_order"
IMAGE_DIGESTS = "image_names"
FILE_SIZES = "file_sizes"  # width and height of each fresh image, in pixels
CACHED_FEATURES = "known_features"
CACHED_TOKENS = "known_tokens"
CACHED_DTYPE = "known_dtype"
_MIN_BUDGET = 16  # tokens; far below the length of a single example


class PackedLayout:
    """Lays out the examples of one step into packed forward passes of at most `budget` tokens each (see `packing`).

    Pixels are passed as bytes where that is exact (see `pixel_codec`).
    """

    def __init__(self, split_encoder: SplitEncoder, budget: int, *, sufficient_tokens: int | None = None):
        self.split_encoder = split_encoder
        self.sufficient_tokens = sufficient_tokens
        self._pixel_codec = PixelCodec.from_processor(split_encoder.encoder.processor.image_processor)
        self._budget = multiprocessing.Value("q", budget)

    def __call__(self, examples: Sequence[Example], images: Mapping[str, Any]) -> list[MicroBatch]:
        """The forward passes of a step.

        Args:
            examples: those of the step, all of them readable.
            images: the images they show, RGB, by path.

        Raises:
            DataError: a row cannot be encoded, and is named.
        """
        step = _PackedStep(self.split_encoder, images, self._pixel_codec)
        for example in examples:
            step.add(example)
        return [
            step.forward(group)
            for group in pack(step.keys, self._budget.value, sufficient_tokens=self.sufficient_tokens)
        ]

    @property
    def budget(self) -> int:
        """Most tokens of a forward pass, in every process; may be set while worker processes lay out steps."""
        return int(self._budget.value)

    @budget.setter
    def budget(self, tokens: int) -> None:
        self._budget.value = tokens

    def shrink(self) -> int | None:
        """Half the tokens in a forward pass."""
        if self._budget.value <= _MIN_BUDGET:
            return None
        self._budget.value //= 2
        return int(self._budget.value)


@dataclass(slots=True)
class _PackedStep:
    split_encoder: SplitEncoder
    images: Mapping[str, Any]
    pixel_codec: PixelCodec | None
    examples: list[Example] = field(default_factory=list)
    skeletons: list[SplitTokens] = field(default_factory=list)
    keys: list[tuple[int, ...]] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)
    _prepared: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def attention(self) -> Attention:
        """Of the family."""
        return self.split_encoder.encoder.family.attention

    def add(self, example: Example) -> None:
        skeleton = self.split_encoder.text(example, [self.images[ref.path].size for ref in example.images])
        numbers = [self._numbers.setdefault(ref.path, len(self._numbers)) for ref in example.images]
        self.examples.append(example)
        self.skeletons.append(skeleton)
        # Tokens of different images share an id but must not be merged: each image gets a negative number.
        self.keys.append(
            tuple(
                token if image < 0 else -1 - numbers[image]
                for token, image in zip(skeleton.ids, skeleton.image_index, strict=True)
            )
        )

    def forward(self, group: tuple[int, ...]) -> MicroBatch:
        trie = build_trie([self.keys[index] for index in group])
        axes = len(self.skeletons[group[0]].positions)
        ids = torch.empty(trie.length, dtype=torch.long)
        positions = torch.empty((axes, trie.length), dtype=torch.long)
        for segment in trie.segments:
            skeleton = self.skeletons[group[segment.example]]
            places = slice(segment.at, segment.at + segment.stop - segment.start)
            ids[places] = torch.tensor(skeleton.ids[segment.start : segment.stop])
            for axis, values in enumerate(skeleton.positions):
                positions[axis, places] = torch.tensor(values[segment.start : segment.stop])
        sources, targets, weights = self._supervised(trie, group)
        return MicroBatch(
            inputs={
                "input_ids": ids[None],
                "position_ids": position_input(positions),
                TREE_PATHS: tree_paths(trie, [self.skeletons[index].blocks for index in group], self.attention),
                **self._vision_inputs(trie, group),
            },
            positions=sources,
            targets=targets,
            rows=tuple(self.examples[index].row for index in group),
            tokens=trie.tokens,
            images=sum(len(self.examples[index].images) for index in group),
            laid_out=trie.length,
            weights=weights,
        )

    def _supervised(self, trie: Trie, group: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        sources: list[int] = []
        targets: list[int] = []
        weights: list[float] = []
        for number, index in enumerate(group):
            skeleton, places = self.skeletons[index], trie.layout_indices(number)
            for at in range(1, len(places)):
                if skeleton.supervised[at]:
                    sources.append(places[at - 1])
                    targets.append(skeleton.ids[at])
                    weights.append(self.examples[index].weight)
        plain = all(weight == 1.0 for weight in weights)
        return (
            torch.tensor(sources, dtype=torch.long),
            torch.tensor(targets, dtype=torch.long),
            None if plain else torch.tensor(weights, dtype=torch.float32),
        )

    def _vision_inputs(self, trie: Trie, group: tuple[int, ...]) -> dict[str, Any]:
        """Distinct images, and the order in which the layout shows them (one may follow several prefixes)."""
        image_order: list[int] = []
        for segment in trie.segments:
            index = group[segment.example]
            numbers = [self._numbers[ref.path] for ref in self.examples[index].images]
            for at, image in find_image_starts(self.skeletons[index].image_index):
                if segment.start <= at < segment.stop:
                    image_order.append(numbers[image])
        if not image_order:
            return {}
        opened = {number: self.images[self._path(number)] for number in dict.fromkeys(image_order)}
        fresh = [number for number, image in opened.items() if not isinstance(image, CachedImage)]
        cached = [number for number, image in opened.items() if isinstance(image, CachedImage)]
        distinct = [*fresh, *cached]  # the order of the features
        inputs: dict[str, Any] = {IMAGE_ORDER: torch.tensor([distinct.index(number) for number in image_order])}
        if fresh:
            prepared = [self._prepare(number) for number in fresh]
            inputs.update(join_images(prepared))
            self._encode_pixels(inputs)
            inputs[IMAGE_DIGESTS] = [getattr(opened[number], "digest", None) for number in fresh]
            inputs[FILE_SIZES] = [opened[number].size for number in fresh]
        if cached:
            features = [opened[number].features for number in cached]
            inputs[CACHED_TOKENS] = [len(item) for item in features]
            inputs[CACHED_DTYPE] = str(features[0].dtype).removeprefix("torch.")
            # As bytes: numpy, which carries batches between processes, has no bfloat16.
            inputs[CACHED_FEATURES] = torch.cat(features).contiguous().view(torch.uint8)
        return inputs

    def _path(self, number: int) -> str:
        return next(path for path, candidate in self._numbers.items() if candidate == number)

    def _prepare(self, number: int) -> dict[str, Any]:
        if number not in self._prepared:
            image = self.images[self._path(number)]
            encoded = self.split_encoder.encode_image(image.image if isinstance(image, HashedImage) else image)
            self._prepared[number] = self._encode_pixels(dict(encoded))
        prepared = dict(self._prepared[number])  # stored as bytes: all images of a step are in memory
        decode_pixels(prepared)
        return prepared

    def _encode_pixels(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if self.pixel_codec is not None:
            self.pixel_codec.encode(inputs)
        return inputs


@dataclass(frozen=True, slots=True)
class HashedImage:
    """An image with the digest of its file, the key of its cached features."""

    image: Any
    digest: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        width, height = self.image.size
        return int(width), int(height)


@dataclass(frozen=True, slots=True)
class CachedImageOpener:
    """Opens an image by its path, or returns its cached features.

    Raises:
        DataError: from a call: the image cannot be read.
    """

    cache: FeatureCache

    def __call__(self, path: str) -> "CachedImage | HashedImage":
        from mg_tui.data.images import open_image

        try:
            content = self.cache.image_digest(path)
        except OSError:
            content = ""  # opening it raises the error
        known = self.cache.find(content) if content else None
        return known or HashedImage(open_image(path), content)


def tree_paths(trie: Trie, blocks: Sequence[Sequence[int]], kind: Attention) -> torch.Tensor:
    """What the attention mask of a layout is made of: (1, L), or (3, L) where depths and blocks matter; see above.

    Args:
        trie: the layout.
        blocks: for each example `SplitTokens.blocks`.
        kind: of the family.
    """
    ends = torch.tensor(trie.subtree_ends())
    if kind.kind == "causal" and not kind.windows:
        return ends[None]
    depths, block_of = torch.empty_like(ends), torch.full_like(ends, -1)
    for segment in trie.segments:
        places = slice(segment.at, segment.at + segment.stop - segment.start)
        depths[places] = torch.arange(segment.start, segment.stop)
        if kind.kind == "image_blocks":
            # A run of feature tokens lies in one segment: the examples of a branch differ outside of images only. Its
            # number is the place of its first token.
            first: dict[int, int] = {-1: -1}
            own = blocks[segment.example][segment.start : segment.stop]
            block_of[places] = torch.tensor([first.setdefault(block, segment.at + at) for at, block in enumerate(own)])
    return torch.stack([ends, depths, block_of])


def dense_tree_mask(paths: torch.Tensor) -> torch.Tensor:
    """The attention mask of a layout: (1, 1, L, L), true where a query (row) sees a key (column).

    Args:
        paths: (L,), for each place, where the subtree of its token ends; or as `tree_paths` gives it.
    """
    paths = paths.view(-1, paths.shape[-1])
    places = torch.arange(paths.shape[-1], device=paths.device)
    return visibility_mask(places, places, paths)[None, None]


def position_input(positions: torch.Tensor) -> torch.Tensor:
    """Position ids as a model takes them, of (axes, L): (axes, 1, L), and (1, L) where there is a single axis."""
    return positions if positions.shape[0] == 1 else positions[:, None]

"""Token counts of examples, without decoding images where possible."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mg_tui.core.example import Example
from mg_tui.data.images import ImageInfo
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.contract import Collator


class TokenMeasure(Protocol):
    """Counts tokens: for each example all of its tokens, and those of its images."""

    def __call__(self, examples: Sequence[Example], infos: Mapping[str, ImageInfo]) -> list[tuple[int, int]]: ...


def choose_token_measure(collator: Collator) -> tuple[TokenMeasure, str]:
    """How to count with this collator, and the reason."""
    if isinstance(collator, ExampleEncoder) and collator.family.image_tokens is not None:
        return _MeasureFromSizes(collator), "from the text and the sizes of the images"
    return _MeasureWithProcessor(
        collator
    ), "by the processor, as the family cannot tell an image's tokens from its size"


class _MeasureFromSizes:
    """Text by template and tokenizer; images by the family's formula."""

    def __init__(self, encoder: ExampleEncoder):
        self._encoder = encoder

    def __call__(self, examples: Sequence[Example], infos: Mapping[str, ImageInfo]) -> list[tuple[int, int]]:
        counts = []
        for example in examples:
            sizes = [(infos[ref.path].width, infos[ref.path].height) for ref in example.images]
            images = sum(self._image(size) for size in sizes)
            counts.append((self._encoder.length(example, sizes) or 0, images))
        return counts

    def _image(self, size: tuple[int, int]) -> int:
        assert self._encoder.family.image_tokens is not None
        return self._encoder.family.image_tokens(*size, self._encoder.preprocessing)


class _MeasureWithProcessor:
    """Every image through the processor: exact for any family, at the price of a pass over all pixels."""

    def __init__(self, collator: Collator):
        self._collator = collator

    def __call__(self, examples: Sequence[Example], infos: Mapping[str, ImageInfo]) -> list[tuple[int, int]]:
        from mg_tui.engine.batching.batches import collate, open_images

        counts = []
        for example in examples:
            total = collate([example], open_images([example]), self._collator).tokens
            counts.append((total, 0))
        return counts

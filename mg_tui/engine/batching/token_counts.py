"""Token counts of examples, without decoding images where possible."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mg_tui.core.errors import GardenError
from mg_tui.core.example import Example
from mg_tui.data.example_columns import ExampleColumns
from mg_tui.data.example_table import columns_of
from mg_tui.data.images import ImageInfo
from mg_tui.data.loaded_dataset import Dataset
from mg_tui.data.token_count_cache import CachedTokenCounter
from mg_tui.engine.batching.token_counting import EncoderTokenCounter
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.contract import Collator


@dataclass(frozen=True, slots=True)
class RowTokens:
    """All tokens of each example, and those of its images."""

    totals: Sequence[int]
    images: Sequence[int]


class TokenMeasure(Protocol):
    """Counts the tokens of a dataset's examples."""

    def __call__(self, dataset: Dataset) -> RowTokens: ...


def choose_token_measure(
    collator: Collator, *, cache: Path | None = None, identity: str = ""
) -> tuple[TokenMeasure, str]:
    """How to count with this collator, and the reason.

    Args:
        collator: the collator of the run.
        cache: the garden's cache folder, for counts of text; None caches nothing.
        identity: see `mg_tui.preflight.token_counter.counter_identity`.
    """
    if isinstance(collator, ExampleEncoder) and collator.family.image_tokens is not None:
        return _MeasureFromSizes(collator, cache, identity), "from the text and the sizes of the images"
    return _MeasureWithProcessor(
        collator
    ), "by the processor, as the family cannot tell an image's tokens from its size"


class _MeasureFromSizes:
    """Text by template and tokenizer, or from the cache; images by the family's formula."""

    def __init__(self, encoder: ExampleEncoder, cache: Path | None, identity: str):
        self._encoder = encoder
        self._cache = cache
        self._identity = identity

    def __call__(self, dataset: Dataset) -> RowTokens:
        import numpy  # not at the top: a worker reports its first words sooner

        examples, infos = dataset.examples, dataset.image_infos
        columns = columns_of(examples)
        counter = EncoderTokenCounter(self._encoder, self._identity)
        counts = []
        for address, span, whole in dataset.sources(columns.rows):
            # Each dataset of several has the counts that it has alone.
            cached = CachedTokenCounter(counter, self._cache, address, partial=not whole)
            own = examples if len(span) == len(examples) else examples[span.start : span.stop]
            texts, failed = cached.count_all(own, columns.keys[span.start : span.stop])
            cached.save()
            for index in sorted(failed):
                self._raise_error(own[index], infos)
            counts.append(texts)
        texts = numpy.concatenate(counts)
        images, places = self._image_tokens(examples, infos, columns)
        # The template writes one token per image.
        totals = texts.astype(numpy.int64) + images - places
        return RowTokens(array("q", totals.tobytes()), array("q", images.tobytes()))

    def _image_tokens(
        self, examples: Sequence[Example], infos: Mapping[str, ImageInfo], columns: ExampleColumns
    ) -> tuple[Any, Any]:
        """For each example the tokens of its images, and how many images it has."""
        import numpy

        ids = numpy.asarray(columns.image_ids, dtype=numpy.int64)
        starts = numpy.asarray(columns.image_starts, dtype=numpy.int64)
        tokens = numpy.zeros(len(columns.paths), dtype=numpy.int64)
        used, first = numpy.unique(ids, return_index=True)
        for image, use in zip(used.tolist(), first.tolist(), strict=True):
            info = infos[columns.paths[image]]
            try:
                tokens[image] = self._image(info.width, info.height)
            except GardenError:
                index = int(numpy.searchsorted(starts, use, side="right")) - 1
                self._raise_error(examples[index], infos)
                raise
        sums = numpy.concatenate([[0], numpy.cumsum(tokens[ids])])
        return sums[starts[1:]] - sums[starts[:-1]], numpy.diff(starts)

    def _raise_error(self, example: Example, infos: Mapping[str, ImageInfo]) -> None:
        """Raise the error of an example that cannot be counted, with its row."""
        self._encoder.length(example, [(infos[ref.path].width, infos[ref.path].height) for ref in example.images])

    def _image(self, width: int, height: int) -> int:
        assert self._encoder.family.image_tokens is not None
        return self._encoder.family.image_tokens(width, height, self._encoder.preprocessing)


class _MeasureWithProcessor:
    """Every image through the processor: exact for any family, at the price of a pass over all pixels."""

    def __init__(self, collator: Collator):
        self._collator = collator

    def __call__(self, dataset: Dataset) -> RowTokens:
        from mg_tui.engine.batching.batches import collate, open_images

        totals = array("q")
        for example in dataset.examples:
            totals.append(collate([example], open_images([example]), self._collator).tokens)
        return RowTokens(totals, array("q", bytes(8 * len(totals))))

"""Token counts of rows: which rows are too long and what would shorten them, which have no supervised token.

Text is counted by the model's own chat template and tokenizer with one token in the place of each image; an image's
tokens follow from its size. A change of the pixel limits therefore needs no second count of the text.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example
from mg_tui.data.checks.findings import WHOLE_DATASET, Finding, Histogram, LengthSuggestion
from mg_tui.data.row_loader import LoadedRow

# (width, height, min_pixels, max_pixels) to tokens; raises DataError for a size the family does not support.
ImageTokenCounter = Callable[[int, int, int, int], int]
# (text tokens with one for each image, supervised tokens), or the reason why the chat template rejects the row.
TextTokenCounts = tuple[int, int] | str


class TextTokenCounter(Protocol):
    """Counts the tokens of conversations.

    Attributes:
        identity: changes whenever counts could: tokenizer, template, system prompt, which tokens are supervised.
    """

    identity: str

    def count(self, examples: Sequence[Example]) -> list[TextTokenCounts]:
        """The counts of each example, or the reason why the template rejects it."""
        ...


# Shares of the pixel limit that are tried to make a row fit.
_PIXEL_LIMIT_SHARES: Final = (3 / 4, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
_LENGTH_MULTIPLE: Final = 64  # suggested maximum lengths are multiples of this


class LengthCheck:
    """Checks rows whose text tokens were counted.

    Args:
        limit: the most tokens of a row.
        min_pixels, max_pixels: bounds that images are resized into.
        image_tokens: None when the model family cannot compute token counts from image sizes.
    """

    def __init__(self, limit: int, min_pixels: int, max_pixels: int, image_tokens: ImageTokenCounter | None):
        self._limit = limit
        self._min, self._max = min_pixels, max_pixels
        self._image_tokens = image_tokens
        self.tokens, self.image_tokens, self.supervised_tokens = Histogram(), Histogram(), Histogram()
        self._too_long: Counter[int] = Counter()  # rows by the length they need
        self._fit_by_pixels: Counter[int] = Counter()  # rows by the largest pixel limit that makes them fit
        self._pixel_limits = sorted(
            {max(int(share * max_pixels), min_pixels) for share in _PIXEL_LIMIT_SHARES} - {max_pixels}, reverse=True
        )

    def check_counted_row(self, row: LoadedRow, counted: TextTokenCounts) -> Iterator[Finding]:
        """Findings in a row with these counts."""
        if isinstance(counted, str):
            yield Finding(row.number, "template", None, counted)
            return
        text, supervised = counted
        sizes = [(probe.info.width, probe.info.height) for probe in row.usable_images if probe.info is not None]
        try:
            images = self._total_image_tokens(sizes, self._max)
        except DataError as error:
            what = error.what + (f" ({error.why})" if error.why else "")
            yield Finding(row.number, "image-shape", row.image_field, what, error.hint)
            return
        total = text + images - (len(sizes) if self._image_tokens is not None else 0)
        self.tokens.add(total)
        self.image_tokens.add(images)
        self.supervised_tokens.add(supervised)
        if supervised == 0:
            yield Finding(row.number, "nothing-learned", None, "it has no supervised tokens", "add an answer")
        if total > self._limit:
            yield self._too_long_finding(row.number, total, images, sizes, text)

    def _total_image_tokens(self, sizes: Sequence[tuple[int, int]], max_pixels: int) -> int:
        if self._image_tokens is None:
            return 0
        return sum(self._image_tokens(width, height, self._min, max_pixels) for width, height in sizes)

    def _too_long_finding(
        self, number: int, total: int, images: int, sizes: Sequence[tuple[int, int]], text: int
    ) -> Finding:
        self._too_long[-(-total // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE] += 1
        pixels = next((limit for limit in self._pixel_limits if self._fits(sizes, text, limit)), None)
        if pixels is not None:
            self._fit_by_pixels[pixels] += 1
        share = f", {images:,} of them for its image{'s' if len(sizes) > 1 else ''}" if images else ""
        ways = [f"raise --max-seq-length to {total}"]
        if pixels is not None:
            ways.insert(0, f"downscale images with --max-pixels {pixels}")
        what = f"has {total:,} tokens{share}; the limit is {self._limit:,}"
        return Finding(number, "too-long", None, what, ", or ".join([*ways, "skip it with --on-bad-row skip"]))

    def _fits(self, sizes: Sequence[tuple[int, int]], text: int, max_pixels: int) -> bool:
        return bool(sizes) and text - len(sizes) + self._total_image_tokens(sizes, max_pixels) <= self._limit

    def suggestions(self) -> tuple[LengthSuggestion, ...]:
        """Ways to deal with rows that are too long: smaller images, a higher limit, skipping."""
        too_long = sum(self._too_long.values())
        if not too_long:
            return ()
        suggestions: list[LengthSuggestion] = []
        saved = 0
        for limit in self._pixel_limits:
            if self._fit_by_pixels[limit]:
                saved += self._fit_by_pixels[limit]
                change = f"downscale images to {limit:,} pixels"
                suggestions.append(LengthSuggestion(change, f"--max-pixels {limit}", saved))
        for share in (0.5, 0.9, 1.0):
            needed = Histogram(self._too_long).percentile(share)
            saves = sum(count for length, count in self._too_long.items() if length <= needed)
            suggestion = LengthSuggestion(f"raise the limit to {needed:,}", f"--max-seq-length {needed}", saves)
            if suggestion not in suggestions:
                suggestions.append(suggestion)
        change = f"skip {too_long:,} row{'s' if too_long > 1 else ''}"
        suggestions.append(LengthSuggestion(change, "--on-bad-row skip", 0))
        return tuple(suggestions)

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        if self._image_tokens is None and self.tokens.total:
            yield Finding(
                WHOLE_DATASET, "tokens-unknown", None, "the model family cannot compute token counts from image sizes"
            )

"""How many tokens rows have, which are too long, what would save them, and which teach nothing.

Text is counted by the model's own template and tokenizer with one token in the place of each image; an image's
tokens follow from its size. So a change of the limits on pixels needs no second count of the text.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example
from mg_tui.data.checks.base import LoadedRow
from mg_tui.data.checks.findings import WHOLE_DATASET, Finding, Histogram, LengthSuggestion

# (width, height, min_pixels, max_pixels) to tokens; raises DataError for an image that the family refuses.
ImageTokenCounter = Callable[[int, int, int, int], int]
# Text tokens with one for each image, and learned tokens; or why the row cannot be written as the model reads it.
TextTokenCounts = tuple[int, int] | str


class TextTokenCounter(Protocol):
    """Counts the tokens of conversations.

    Attributes:
        identity: changes whenever counts could: tokenizer, template, system prompt, what is learned.
    """

    identity: str

    def count(self, examples: Sequence[Example]) -> list[TextTokenCounts]:
        """For each example its text tokens, with one for each image, and its learned tokens, or a refusal."""
        ...


# Shares of the limit on pixels that are tried as a remedy.
_PIXEL_LIMIT_SHARES: Final = (3 / 4, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
_LENGTH_MULTIPLE: Final = 64  # a maximum length is offered in multiples of this


class LengthCheck:
    """Judges rows whose text was counted.

    Args:
        limit: the most tokens of a row.
        min_pixels, max_pixels: between which images are brought.
        image_tokens: None when the model family cannot compute token counts from image sizes.
    """

    def __init__(self, limit: int, min_pixels: int, max_pixels: int, image_tokens: ImageTokenCounter | None):
        self._limit = limit
        self._min, self._max = min_pixels, max_pixels
        self._image_tokens = image_tokens
        self.tokens, self.image_tokens, self.supervised_tokens = Histogram(), Histogram(), Histogram()
        self._over: Counter[int] = Counter()  # by the length it needs
        self._saved: Counter[int] = Counter()  # by the limit on pixels that would do
        self._steps = sorted(
            {max(int(share * max_pixels), min_pixels) for share in _PIXEL_LIMIT_SHARES} - {max_pixels}, reverse=True
        )

    def check_counted_row(self, judged: LoadedRow, counted: TextTokenCounts) -> Iterator[Finding]:
        """What is found in a row with these tokens of text."""
        if isinstance(counted, str):
            yield Finding(judged.number, "template", None, counted)
            return
        text, learned = counted
        sizes = [(found.info.width, found.info.height) for found in judged.usable_images if found.info is not None]
        try:
            images = self._images(sizes, self._max)
        except DataError as error:
            what = error.what + (f" ({error.why})" if error.why else "")
            yield Finding(judged.number, "image-shape", judged.image_field, what, error.hint)
            return
        total = text + images - (len(sizes) if self._image_tokens is not None else 0)
        self.tokens.add(total)
        self.image_tokens.add(images)
        self.supervised_tokens.add(learned)
        if learned == 0:
            yield Finding(judged.number, "nothing-learned", None, "it has no supervised tokens", "add an answer")
        if total > self._limit:
            yield self._too_long_finding(judged.number, total, images, len(sizes), sizes, text)

    def _images(self, sizes: Sequence[tuple[int, int]], most: int) -> int:
        if self._image_tokens is None:
            return 0
        return sum(self._image_tokens(width, height, self._min, most) for width, height in sizes)

    def _too_long_finding(
        self, row: int, total: int, images: int, shown: int, sizes: Sequence[tuple[int, int]], text: int
    ) -> Finding:
        self._over[-(-total // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE] += 1
        fits = next((step for step in self._steps if self._fits(sizes, text, step)), None)
        if fits is not None:
            self._saved[fits] += 1
        share = f", {images:,} of them for its image{'s' if shown > 1 else ''}" if images else ""
        ways = [f"raise --max-seq-length to {total}"]
        if fits is not None:
            ways.insert(0, f"downscale images with --max-pixels {fits}")
        what = f"has {total:,} tokens{share}; the limit is {self._limit:,}"
        return Finding(row, "too-long", None, what, ", or ".join([*ways, "skip it with --on-bad-row skip"]))

    def _fits(self, sizes: Sequence[tuple[int, int]], text: int, step: int) -> bool:
        return bool(sizes) and text - len(sizes) + self._images(sizes, step) <= self._limit

    def suggestions(self) -> tuple[LengthSuggestion, ...]:
        """What would save how many of the over-long rows: smaller images, a larger limit, or leaving them out."""
        over = sum(self._over.values())
        if not over:
            return ()
        found: list[LengthSuggestion] = []
        saved = 0
        for step in self._steps:
            if self._saved[step]:
                saved += self._saved[step]
                found.append(LengthSuggestion(f"downscale images to {step:,} pixels", f"--max-pixels {step}", saved))
        for share in (0.5, 0.9, 1.0):
            needed = Histogram(self._over).percentile(share)
            saves = sum(count for length, count in self._over.items() if length <= needed)
            remedy = LengthSuggestion(f"raise the limit to {needed:,}", f"--max-seq-length {needed}", saves)
            if remedy not in found:
                found.append(remedy)
        found.append(LengthSuggestion(f"skip {over:,} row{'s' if over > 1 else ''}", "--on-bad-row skip", 0))
        return tuple(found)

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        if self._image_tokens is None and self.tokens.total:
            yield Finding(
                WHOLE_DATASET, "tokens-unknown", None, "the model family cannot compute token counts from image sizes"
            )

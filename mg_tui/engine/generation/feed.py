"""Rows on their way to the scheduler: encoded some at a time, those that show the same images together."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from mg_tui.core.errors import GardenError
from mg_tui.core.example import Example
from mg_tui.engine.answers.answer import Sampling
from mg_tui.engine.generation.grouping import by_images, group
from mg_tui.engine.generation.images import ImageFeatures
from mg_tui.engine.generation.prefill import GroupOfRows
from mg_tui.engine.generation.prompts import Prompt, PromptEncoder, header_size, image_refs
from mg_tui.engine.generation.rows import Row, TextStream, seed_of
from mg_tui.families.apart import ApartEncoder

WINDOW: Final = 256  # rows that are encoded, grouped and sorted by length at a time, if no more decode together
_GROUP: Final = 8  # rows that a group may have, as far as half of what decodes together


class Feed:
    """Gives the groups of some examples, window by window.

    Args:
        apart: encodes.
        examples: all rows.
        samplings: one for each.
        images: told which images will be shown.
        text: told the index of a row and pieces of its answer, if somebody reads along.
        problem: told the index of a row that cannot be read, and why; without it such a row is an error.
    """

    def __init__(
        self,
        apart: ApartEncoder,
        examples: Sequence[Example],
        samplings: Sequence[Sampling],
        images: ImageFeatures,
        *,
        text: Callable[[int, str], None] | None = None,
        problem: Callable[[int, GardenError], None] | None = None,
    ):
        self._examples = examples
        self._samplings = samplings
        self._encode = PromptEncoder(apart, header_size)
        self._tokenizer = apart.encoder.processor.tokenizer
        self._images = images
        self._text = text
        self._problem = problem
        paths = [[ref.path for ref in image_refs(example)] for example in examples]
        for shown in paths:
            images.expect(shown)
        self._order = by_images(paths)
        self._given = 0
        # Drawn once: rows of one sampling draw by one seed, each with its own number.
        self._seeds = {id(one): seed_of(one) for one in samplings}

    @property
    def empty(self) -> bool:
        """Whether all rows were given."""
        return self._given >= len(self._order)

    def more(self, at_once: int) -> list[GroupOfRows]:
        """The groups of the next window; groups with long rows first.

        Args:
            at_once: rows that may decode together. No group has more than a part of them: it waits until there is room
                for all of it.

        Raises:
            DataError: a row cannot be encoded, and nobody listens to problems.
        """
        until = self._given + max(WINDOW, 2 * at_once)
        window, self._given = self._order[self._given : until], until
        prompts: list[Prompt] = []
        for index in window:
            try:
                prompts.append(self._encode(index, self._examples[index]))
            except GardenError as error:
                self._images.done(ref.path for ref in image_refs(self._examples[index]))
                self.fail(index, error)
        most = max(1, at_once // 4, min(at_once // 2, _GROUP))
        found = group([prompt.key for prompt in prompts], most)
        return [GroupOfRows(tuple(self._row(prompts[index]) for index in one.rows), one.shared) for one in found]

    def fail(self, index: int, error: GardenError) -> None:
        """A row has no answer.

        Raises:
            DataError: nobody listens to problems.
        """
        if self._problem is None:
            raise error
        self._problem(index, error)

    def _row(self, prompt: Prompt) -> Row:
        sampling = self._samplings[prompt.index]
        listener, index, stream = self._text, prompt.index, None
        if listener is not None:
            stream = TextStream(self._tokenizer, lambda piece: listener(index, piece))
        return Row(prompt, sampling, self._seeds[id(sampling)], stream)


def pixels_per_token(processor: Any) -> int | None:
    """The side, in pixels, of what one image token stands for; None where the image processor does not tell."""
    images = getattr(processor, "image_processor", None)
    patch, merge = getattr(images, "patch_size", None), getattr(images, "merge_size", None)
    return patch * merge if isinstance(patch, int) and isinstance(merge, int) else None

"""Examples on their way to the scheduler: ordered by image, encoded and grouped one window at a time."""

from collections.abc import Callable, Sequence
from typing import Final

from mg_tui.core.errors import GardenError
from mg_tui.core.example import Example
from mg_tui.engine.generation.grouping import group_by_prefix, order_by_images
from mg_tui.engine.generation.image_features import ImageFeatures
from mg_tui.engine.generation.prefill import RowGroup
from mg_tui.engine.generation.prompts import Prompt, PromptEncoder, image_refs, read_image_size
from mg_tui.engine.generation.row_state import RowState, TextStream, resolve_seed
from mg_tui.engine.inference.generation import Sampling
from mg_tui.families.split_encoding import SplitEncoder

WINDOW: Final = 256  # rows encoded, grouped and sorted by length at a time, if not more are decoded together
MAX_GROUP: Final = 8  # rows of a group, if that is more than a quarter of the rows decoded together


class RowQueue:
    """Yields the groups of some examples, window by window.

    Args:
        encoder: encodes prompts.
        examples: all rows.
        samplings: one per row.
        images: informed of the images that will be needed.
        on_text: see `GenerationCallbacks`.
        on_problem: see `GenerationCallbacks`.
    """

    def __init__(
        self,
        encoder: SplitEncoder,
        examples: Sequence[Example],
        samplings: Sequence[Sampling],
        images: ImageFeatures,
        *,
        on_text: Callable[[int, str], None] | None = None,
        on_problem: Callable[[int, GardenError], None] | None = None,
    ):
        self._examples = examples
        self._samplings = samplings
        self._encode = PromptEncoder(encoder, read_image_size)
        self._tokenizer = encoder.encoder.processor.tokenizer
        self._images = images
        self._on_text = on_text
        self._on_problem = on_problem
        paths = [[ref.path for ref in image_refs(example)] for example in examples]
        for row_paths in paths:
            images.reserve(row_paths)
        self._order = order_by_images(paths)
        self._taken = 0
        self._seeds = {id(sampling): resolve_seed(sampling) for sampling in samplings}

    @property
    def is_empty(self) -> bool:
        """Whether all rows have been taken."""
        return self._taken >= len(self._order)

    def next_window(self, max_rows: int) -> list[RowGroup]:
        """The groups of the next window, long rows first.

        Args:
            max_rows: rows that may be decoded together. Groups are smaller, since a group waits until all of it fits.

        Raises:
            DataError: a row cannot be encoded, and there is no `on_problem`.
        """
        end = self._taken + max(WINDOW, 2 * max_rows)
        window, self._taken = self._order[self._taken : end], end
        prompts: list[Prompt] = []
        for index in window:
            try:
                prompts.append(self._encode(index, self._examples[index]))
            except GardenError as error:
                self._images.release(ref.path for ref in image_refs(self._examples[index]))
                self.report(index, error)
        max_group = max(1, max_rows // 4, min(max_rows // 2, MAX_GROUP))
        groups = group_by_prefix([prompt.key for prompt in prompts], max_group)
        return [
            RowGroup(tuple(self._row_state(prompts[index]) for index in group.rows), group.shared) for group in groups
        ]

    def report(self, index: int, error: GardenError) -> None:
        """Report a row that cannot be answered; raises the error if there is no `on_problem`."""
        if self._on_problem is None:
            raise error
        self._on_problem(index, error)

    def _row_state(self, prompt: Prompt) -> RowState:
        sampling = self._samplings[prompt.index]
        on_text, index, stream = self._on_text, prompt.index, None
        if on_text is not None:
            stream = TextStream(self._tokenizer, lambda piece: on_text(index, piece))
        return RowState(prompt, sampling, self._seeds[id(sampling)], stream)

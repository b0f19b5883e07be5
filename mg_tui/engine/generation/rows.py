"""A row while its answer is being written."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mg_tui.core.errors import GardenError
from mg_tui.engine.answers.answer import Answer, Sampling
from mg_tui.engine.generation.prompts import Prompt
from mg_tui.engine.generation.sampling import Chance


@dataclass(slots=True, eq=False)
class Row:
    """A row and what it has generated.

    Attributes:
        prompt: what is answered.
        sampling: how; `seed` is that of sampling, None when nothing is drawn.
        text: given each token, if somebody reads along.
        tokens: generated so far.
        began, first: clock when its prompt began to be read, and when the first token was there, in seconds.
        ended: by what, or None while it is being written.
        problem: why there is no answer, if its images cannot be read.
    """

    prompt: Prompt
    sampling: Sampling
    seed: int | None
    text: "TextStream | None" = None
    tokens: list[int] = field(default_factory=list)
    began: float = 0.0
    first: float = 0.0
    ended: Literal["end", "length"] | None = None
    problem: GardenError | None = None
    chance: Chance = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what was generated; the same will be generated again."""
        self.tokens, self.ended = [], None
        self.chance = Chance.of(self.sampling, self.seed, self.prompt.example.row)

    def take(self, token: int, ends: frozenset[int]) -> None:
        """Add a token, with which the answer may come to its end."""
        if not self.tokens:
            self.first = time.monotonic()
        self.tokens.append(token)
        if self.text is not None:
            self.text.put(self.tokens)
        if token in ends:
            self.ended = "end"
        elif len(self.tokens) >= self.sampling.max_new_tokens:
            self.ended = "length"
        if self.ended is not None and self.text is not None:
            self.text.end(self.tokens)

    def answer(self, tokenizer: Any, pixels_per_token: int | None) -> Answer:
        """The answer, as it is so far.

        Args:
            tokenizer: decodes it.
            pixels_per_token: along a side of an image, where that is known.
        """
        prompt = self.prompt
        seen = [
            (columns * pixels_per_token, rows * pixels_per_token) if pixels_per_token else None
            for rows, columns in prompt.grids
        ]
        return Answer(
            text=tokenizer.decode(self.tokens, skip_special_tokens=True),
            tokens=len(self.tokens),
            prompt_tokens=len(prompt.ids),
            image_tokens=sum(rows * columns for rows, columns in prompt.grids),
            seconds=time.monotonic() - self.began,
            first_token_seconds=self.first - self.began,
            ended=self.ended or "cancelled",
            images=tuple(zip(prompt.sizes, seen, strict=True)),
            seed=self.seed,
        )


class TextStream:
    """Gives an answer's text as soon as it is whole characters; joined the pieces are the answer.

    A row that is begun anew, for want of memory, gives nothing twice.
    """

    def __init__(self, tokenizer: Any, on_text: Callable[[str], None]):
        self._tokenizer = tokenizer
        self._on_text = on_text
        # Text up to `read` tokens has been given; decoding begins a little before it, at `context`, because a token's
        # text depends on the one before.
        self._context = self._read = 0

    def put(self, tokens: Sequence[int]) -> None:
        """The tokens so far."""
        self._give(tokens, last=False)

    def end(self, tokens: Sequence[int]) -> None:
        """All tokens."""
        self._give(tokens, last=True)

    def _give(self, tokens: Sequence[int], *, last: bool) -> None:
        if len(tokens) <= self._read:
            return
        before = self._tokenizer.decode(tokens[self._context : self._read], skip_special_tokens=True)
        text = self._tokenizer.decode(tokens[self._context :], skip_special_tokens=True)
        # Half of a character decodes to a replacement mark: wait for the rest.
        if len(text) > len(before) and (last or not text.endswith("\N{REPLACEMENT CHARACTER}")):
            self._on_text(text[len(before) :])
            self._context, self._read = self._read, len(tokens)


def seed_of(sampling: Sampling) -> int | None:
    """The seed that answers are drawn with: the one given, or a fresh one; None when nothing is drawn."""
    if sampling.greedy:
        return None
    return random.randrange(2**31) if sampling.seed is None else sampling.seed

"""The state of one row during generation."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mg_tui.core.errors import GardenError
from mg_tui.engine.generation.prompts import Prompt
from mg_tui.engine.generation.sampling import RowSampler
from mg_tui.engine.inference.generation import GeneratedAnswer, Sampling


@dataclass(slots=True, eq=False)
class RowState:
    """A row and its generated tokens.

    Attributes:
        prompt: the prompt.
        sampling: how tokens are chosen; `seed` is the seed in use, None for greedy decoding.
        stream: receives the tokens, if the text is streamed.
        tokens: generated so far.
        started, first_token: monotonic time in seconds of the start of the prefill and of the first token.
        finish_reason: None while the answer is incomplete.
        problem: the error if the row cannot be answered.
    """

    prompt: Prompt
    sampling: Sampling
    seed: int | None
    stream: "TextStream | None" = None
    tokens: list[int] = field(default_factory=list)
    started: float = 0.0
    first_token: float = 0.0
    finish_reason: Literal["end", "length"] | None = None
    problem: GardenError | None = None
    sampler: RowSampler = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Discard the generated tokens; the same tokens will be generated again."""
        self.tokens, self.finish_reason = [], None
        self.sampler = RowSampler.create(self.sampling, self.seed, self.prompt.example.row)

    def append(self, token: int, end_tokens: frozenset[int]) -> None:
        """Add a token, and finish the row if it is the last one."""
        if not self.tokens:
            self.first_token = time.monotonic()
        self.tokens.append(token)
        if token in end_tokens:
            self.finish_reason = "end"
        elif len(self.tokens) >= self.sampling.max_new_tokens:
            self.finish_reason = "length"
        if self.stream is not None:
            self.stream.update(self.tokens, last=self.finish_reason is not None)

    def to_answer(self, tokenizer: Any) -> GeneratedAnswer:
        """The answer; `tokenizer` decodes it."""
        prompt = self.prompt
        return GeneratedAnswer(
            text=tokenizer.decode(self.tokens, skip_special_tokens=True),
            tokens=len(self.tokens),
            prompt_tokens=len(prompt.ids),
            image_tokens=sum(image >= 0 for image in prompt.image_index),
            seconds=time.monotonic() - self.started,
            first_token_seconds=self.first_token - self.started,
            finish_reason=self.finish_reason or "cancelled",
            image_sizes=tuple(zip(prompt.sizes, prompt.resized, strict=True)),
            seed=self.seed,
        )


class TextStream:
    """Passes on the text of an answer as soon as its characters are complete; joined the pieces are the answer.

    After a restart of the row nothing is passed on twice.
    """

    def __init__(self, tokenizer: Any, on_text: Callable[[str], None]):
        self._tokenizer = tokenizer
        self._on_text = on_text
        # The text of `read` tokens has been passed on; decoding begins a little earlier, at `context`, because a
        # token's text depends on the one before.
        self._context = self._read = 0

    def update(self, tokens: Sequence[int], *, last: bool) -> None:
        """All tokens so far; `last` if the answer is complete."""
        if len(tokens) <= self._read:
            return
        before = self._tokenizer.decode(tokens[self._context : self._read], skip_special_tokens=True)
        text = self._tokenizer.decode(tokens[self._context :], skip_special_tokens=True)
        # An incomplete character decodes to a replacement character: wait for the rest.
        if len(text) > len(before) and (last or not text.endswith("\N{REPLACEMENT CHARACTER}")):
            self._on_text(text[len(before) :])
            self._context, self._read = self._read, len(tokens)


def resolve_seed(sampling: Sampling) -> int | None:
    """The given seed or a random one; None for greedy decoding."""
    if sampling.greedy:
        return None
    return random.randrange(2**31) if sampling.seed is None else sampling.seed

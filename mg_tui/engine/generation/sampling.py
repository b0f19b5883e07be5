"""The choice of the next token: greedy, or sampled independently of the other rows of the batch."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mg_tui.engine.inference.generation import Sampling


@dataclass(slots=True)
class RowSampler:
    """Sampling parameters of one row, and its random numbers, which depend only on the seed and the row's number."""

    temperature: float
    top_p: float
    numbers: random.Random

    @classmethod
    def create(cls, sampling: Sampling, seed: int | None, row: int) -> "RowSampler":
        """The sampler of a row; `seed` is None for greedy decoding."""
        # Seeding with a string gives the same numbers in every Python version and for every hash seed.
        return cls(sampling.temperature, sampling.top_p, random.Random(f"answer/{seed}/{row}"))


def sample_tokens(logits: Tensor, samplers: Sequence[RowSampler]) -> list[int]:
    """The next token of each row.

    Sampling inverts the cumulative distribution at the row's next random number, after top-p filtering: the smallest
    set of most likely tokens whose probabilities sum to at least `top_p` (Holtzman et al. 2020).

    Args:
        logits: (rows, vocabulary).
        samplers: one per row.
    """
    tokens: list[int] = logits.argmax(-1).tolist()
    for row, sampler in enumerate(samplers):
        if sampler.temperature == 0:
            continue
        # Row by row: sorting the vocabulary of all rows at once would need memory for all of them.
        scaled = logits[row].float() / sampler.temperature
        probabilities, order = scaled.softmax(-1).sort(descending=True, stable=True)
        sums = probabilities.cumsum(-1, dtype=torch.float64)
        count = int((sums - probabilities < sampler.top_p).sum()) if sampler.top_p < 1 else len(sums)
        chosen = torch.searchsorted(sums[:count], sampler.numbers.random() * sums[count - 1], right=True)
        tokens[row] = int(order[min(int(chosen), count - 1)])
    return tokens

"""Which token comes next: the likeliest, or one drawn by chance that does not depend on what else is in the batch."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mg_tui.engine.answers.answer import Sampling


@dataclass(slots=True)
class Chance:
    """How the tokens of one row are chosen, and its own random numbers.

    A row's numbers follow from the seed and the row's number alone, so that it draws the same answer whatever rows it
    is answered with, and in whatever order.
    """

    temperature: float
    top_p: float
    numbers: random.Random

    @classmethod
    def of(cls, sampling: "Sampling", seed: int | None, row: int) -> "Chance":
        """That of a row; `seed` is None when nothing is drawn."""
        # Seeded with text: the numbers are then the same for every Python and every hash seed.
        return cls(sampling.temperature, sampling.top_p, random.Random(f"answer/{seed}/{row}"))


def choose(logits: Tensor, chances: Sequence[Chance]) -> list[int]:
    """The next token of each row.

    A token is drawn by inverting the cumulative distribution at the row's next random number, over the tokens that
    top-p leaves: the fewest of the likeliest whose probabilities sum to `top_p` or more (Holtzman et al. 2020).

    Args:
        logits: (rows, vocabulary).
        chances: one for each row.
    """
    chosen: list[int] = logits.argmax(-1).tolist()
    drawn = [row for row, chance in enumerate(chances) if chance.temperature > 0]
    for row in drawn:  # one at a time: sorting a vocabulary for each row at once would need memory for all of them
        chances_of = chances[row]
        likely, tokens = (logits[row].float() / chances_of.temperature).softmax(-1).sort(descending=True, stable=True)
        sums = likely.cumsum(-1, dtype=torch.float64)
        left = int((sums - likely < chances_of.top_p).sum()) if chances_of.top_p < 1 else len(sums)
        at = torch.searchsorted(sums[:left], chances_of.numbers.random() * sums[left - 1], right=True)
        chosen[row] = int(tokens[min(int(at), left - 1)])
    return chosen

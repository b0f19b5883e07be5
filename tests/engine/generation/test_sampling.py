"""Tokens that are drawn: the right distribution, cut as transformers cuts it, and the row's own chance."""

import random

import pytest
import torch
from transformers.generation.logits_process import TopPLogitsWarper

from mg_tui.engine.generation.sampling import RowSampler, sample_tokens
from mg_tui.engine.inference.generation import Sampling

LOGITS = torch.tensor([2.0, 0.0, 1.0, -1.0, 1.5, -9.0])


def drawn(temperature: float, top_p: float, count: int = 4000) -> torch.Tensor:
    chance = RowSampler(temperature, top_p, random.Random(0))
    tokens = [sample_tokens(LOGITS[None], [chance])[0] for _ in range(count)]
    return torch.bincount(torch.tensor(tokens), minlength=len(LOGITS)) / count


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (1.0, 0.8), (1.0, 0.5)])
def test_the_distribution_is_that_of_transformers(temperature: float, top_p: float) -> None:
    scores = (LOGITS / temperature)[None]
    expected = (TopPLogitsWarper(top_p)(None, scores) if top_p < 1 else scores).softmax(-1)[0]
    found = drawn(temperature, top_p)
    assert ((found > 0) <= (expected > 0)).all(), "what top-p leaves out is never drawn"
    # Five standard deviations of a share of 4,000 draws.
    assert ((found - expected).abs() <= 5 * (expected * (1 - expected) / 4000).sqrt() + 1e-9).all()


def test_no_chance_and_next_to_none() -> None:
    greedy, small = RowSampler(0.0, 1.0, random.Random(1)), RowSampler(1.0, 1e-6, random.Random(1))
    cold = RowSampler(1e-4, 1.0, random.Random(1))
    assert sample_tokens(LOGITS.repeat(3, 1), [greedy, small, cold]) == [0, 0, 0]


def test_a_row_draws_by_its_number_and_the_seed() -> None:
    sampling = Sampling(temperature=1.0, seed=3)
    numbers = [
        RowSampler.create(sampling, seed, row).numbers.random() for seed, row in ((3, 1), (3, 1), (3, 2), (4, 1))
    ]
    assert numbers[0] == numbers[1] and len(set(numbers)) == 3
    # The same on every machine and with every Python: rows can be gone on with elsewhere.
    assert numbers[0] == pytest.approx(0.4, abs=1)
    assert random.Random("answer/3/1").random() == numbers[0]

"""How often each row of a dataset with a weight is taken: the one rule for `datasets concat` and for runs."""

import random
from collections.abc import Iterator


def row_repeats(weight: float, seed: int, index: int) -> Iterator[int]:
    """How often the next row is taken, for every row in order, bad ones included; endless.

    A weight of 2 takes every row twice; of 0.5, each row with a probability of one half; of 2.5, every row twice and
    each a third time with a probability of one half. The same weight, seed and position give the same rows.

    Args:
        weight: above 0.
        seed: of `datasets concat`, or of the run.
        index: the position of the dataset among those that are put together, from 0.
    """
    generator = random.Random(f"{seed} {index}")
    whole, fraction = divmod(weight, 1)
    while True:
        yield int(whole) + (generator.random() < fraction)

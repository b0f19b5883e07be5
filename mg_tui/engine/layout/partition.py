"""Partitions an optimizer step among several processes: the examples and passes of each rank. Free of torch.

The partition is a function of the step's examples alone, so every rank computes the same without communication.
Examples with the same images stay on one rank while tokens stay balanced. Every rank makes the same number of passes if
it has that many examples; a rank with fewer makes fewer, which is allowed since no pass waits for another rank (see
`engine.run.distributed`): a rank with text only runs no vision tower while others do.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WORLD_VARIABLES: Final = (
    "MODEL_GARDEN_RANK",
    "MODEL_GARDEN_WORLD_SIZE",
    "MODEL_GARDEN_LOCAL_RANK",
    "MODEL_GARDEN_LOCAL_SIZE",
)


@dataclass(frozen=True, slots=True)
class World:
    """This process among those of the run: `rank` of `size`; on this machine, `local_rank` of `local_size`."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def from_environment(cls) -> "World":
        """From the variables that `engine.run.rank_supervisor` sets; one process without them.

        They are not those of torchrun (RANK and so on), at which accelerate and transformers would set up a process
        group of their own and wrap the model.
        """
        rank, size, local, here = (_parse_int(os.environ.get(name)) for name in WORLD_VARIABLES)
        if size is None or rank is None or size < 2 or not 0 <= rank < size:
            return cls()
        return cls(rank, size, rank if local is None else local, 1 if here is None else here)

    def as_environment(self) -> dict[str, str]:
        """The variables for a process that is to be this one."""
        values = (self.rank, self.size, self.local_rank, self.local_size)
        return {name: str(value) for name, value in zip(WORLD_VARIABLES, values, strict=True)}

    @property
    def leads(self) -> bool:
        """Whether this is the first process of its machine: it writes the journal and the checkpoints there."""
        return self.local_rank == 0


def _parse_int(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdigit() else None


@dataclass(frozen=True, slots=True)
class StepPartition:
    """Partitions steps among ranks.

    Attributes:
        world: this process and how many there are.
        tokens: of each example of the dataset.
        groups: a number for each example; those with the same show the same images. None when none do.
        shared: for each example, how many of its tokens others of its group have too.
    """

    world: World
    tokens: Sequence[int]
    groups: Sequence[int] | None = None
    shared_tokens: Sequence[int] | None = None

    def rank_passes(self, step: Sequence[int], budget: int | None) -> list[tuple[int, ...]]:
        """The examples of each forward pass of this rank, by their indices in the dataset.

        Args:
            step: indices of the step's examples.
            budget: most tokens of a pass, shared ones counted once; None puts a rank's examples into one.
        """
        tokens = [self.tokens[index] for index in step]
        groups = None if self.groups is None else [self.groups[index] for index in step]
        shared = None if self.shared_tokens is None else [self.shared_tokens[index] for index in step]
        passes = partition_step(tokens, self.world.size, budget, groups=groups, shared=shared)[self.world.rank]
        return [tuple(step[place] for place in indices) for indices in passes if indices]


RankPasses = tuple[tuple[int, ...], ...]


def partition_step(
    tokens: Sequence[int],
    ranks: int,
    budget: int | None = None,
    *,
    groups: Sequence[int] | None = None,
    shared: Sequence[int] | None = None,
) -> tuple[RankPasses, ...]:
    """Partition the examples of a step into the passes of each rank.

    Args:
        tokens: of each example.
        ranks: how many processes.
        budget: most tokens of a pass; an example longer than that goes alone. Which rank gets which examples does not
            depend on it, so ranks with different budgets still do every example once.
        groups, shared: see `StepPartition`.

    Returns:
        For each rank its passes, each a tuple of places in `tokens`; as many for every rank, empty ones last, and empty
        only where a rank has fewer examples than passes. Every place is in exactly one pass.

    Raises:
        ValueError: there are no ranks, or the budget is not positive.
    """
    if ranks < 1 or (budget is not None and budget < 1):
        raise ValueError(f"a step is spread over ranks with a positive budget, got {ranks} ranks and {budget}")
    step = _StepExamples(tokens, groups or range(len(tokens)), shared or [0] * len(tokens))
    packed = [step.packed(units, budget) for units in step.shares(ranks)]
    count = max((len(passes) for passes in packed), default=0)
    return tuple(step.split_to_count(passes, count) for passes in packed)


@dataclass(frozen=True, slots=True)
class _StepExamples:
    tokens: Sequence[int]
    groups: Sequence[int]
    shared_tokens: Sequence[int]

    def cost(self, places: Sequence[int]) -> int:
        """Tokens of a pass: what a group shares counts once."""
        shared_by_group: dict[int, int] = {}
        for place in places:
            group = self.groups[place]
            shared_by_group[group] = max(shared_by_group.get(group, 0), self.shared_tokens[place])
        return sum(self.tokens[place] - self.shared_tokens[place] for place in places) + sum(shared_by_group.values())

    def shares(self, ranks: int) -> list[list[tuple[int, ...]]]:
        """The units (examples of a group) of each rank: the largest first, each to the rank with the fewest tokens."""
        units = self._units(ranks)
        loads = [0] * ranks
        assigned: list[list[tuple[int, ...]]] = [[] for _ in range(ranks)]
        for unit in sorted(units, key=lambda one: (-self.cost(one), one)):
            rank = min(range(ranks), key=lambda one: (loads[one], one))
            assigned[rank].append(unit)
            loads[rank] += self.cost(unit)
        return assigned

    def _units(self, ranks: int) -> list[tuple[int, ...]]:
        """Groups, cut in two as long as one is more than a rank's fair share or there are fewer than ranks."""
        members: dict[int, list[int]] = {}
        for place, group in enumerate(self.groups):
            members.setdefault(group, []).append(place)
        units = [tuple(places) for places in members.values()]
        fair = sum(map(self.cost, units)) / ranks
        while True:
            cuttable = [unit for unit in units if len(unit) > 1]
            largest = max(cuttable, key=lambda unit: (self.cost(unit), unit), default=None)
            if largest is None or (len(units) >= ranks and self.cost(largest) <= fair):
                return units
            units.remove(largest)
            units += self._split_unit(largest)

    def _split_unit(self, unit: tuple[int, ...]) -> list[tuple[int, ...]]:
        """A unit in two of about the same tokens, in the order it has."""
        half, total, cut = sum(self.tokens[place] for place in unit) / 2, 0, 1
        for number, place in enumerate(unit[:-1], 1):
            total += self.tokens[place]
            cut = number
            if total >= half:
                break
        return [unit[:cut], unit[cut:]]

    def packed(self, units: Sequence[tuple[int, ...]], budget: int | None) -> list[tuple[int, ...]]:
        """Units into passes within the budget, each into the first that has room; one that is too large is cut."""
        if budget is None:
            places = tuple(place for unit in units for place in unit)
            return [places] if places else []
        passes: list[tuple[int, ...]] = []
        pending = list(units)
        while pending:
            unit = pending.pop(0)
            if len(unit) > 1 and self.cost(unit) > budget:
                pending[:0] = self._split_unit(unit)
                continue
            for number, existing in enumerate(passes):
                if self.cost((*existing, *unit)) <= budget:
                    passes[number] = (*existing, *unit)
                    break
            else:
                passes.append(unit)
        return passes

    def split_to_count(self, passes: Sequence[tuple[int, ...]], count: int) -> RankPasses:
        """The same examples in `count` passes, as far as there are examples; the rest are empty."""
        split = list(passes)
        while len(split) < count:
            longest = max((indices for indices in split if len(indices) > 1), key=self.cost, default=None)
            if longest is None:
                break
            split.remove(longest)
            split += self._split_unit(longest)
        return (*split, *((),) * (count - len(split)))

"""Which examples form each optimizer step, and how a step is laid out into forward passes. No torch in here.

A plan is a function of (seed, epoch, number of examples, examples per step) and of nothing else: the same run asked
again, on any machine, meets the same examples in the same order. Steps are addressed by their number, so that a resumed
run goes on at step k without visiting what came before. The last step of an epoch keeps what is left, however little.
"""

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol


@dataclass(slots=True)
class StepPlan:
    """The steps of a run over `examples` examples, `per_step` at a time; step numbers count from 0 across epochs.

    `shuffle` False keeps the order of the dataset, as an evaluation does. `groups` has a number for each example: those
    with the same number (which show the same pictures, say) are met in the same step as far as steps allow. Groups come
    in random order, and examples of a group too; what a step is made of is then less mixed than without groups.
    """

    examples: int
    per_step: int
    seed: int = 0
    shuffle: bool = True
    groups: Sequence[int] | None = None
    _order: tuple[int, list[int]] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.examples < 1 or self.per_step < 1:
            raise ValueError(f"a plan needs examples and a step size, got {self.examples} and {self.per_step}")

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the examples."""
        return math.ceil(self.examples / self.per_step)

    def total_steps(self, epochs: float, max_steps: int | None = None) -> int:
        """Optimizer steps of the whole run; `max_steps` takes the place of `epochs`."""
        if max_steps is not None:
            return max_steps
        return max(1, math.ceil(epochs * self.steps_per_epoch - 1e-9))

    def step(self, number: int) -> tuple[int, ...]:
        """The indices of the examples of step `number`."""
        epoch, position = divmod(number, self.steps_per_epoch)
        order = self._epoch_order(epoch)
        return tuple(order[position * self.per_step : (position + 1) * self.per_step])

    def _epoch_order(self, epoch: int) -> list[int]:
        if self._order is None or self._order[0] != epoch:
            order = list(range(self.examples))
            if self.shuffle:
                # Seeded with text: the order is then the same for every Python and every hash seed.
                chosen = random.Random(f"order/{self.seed}/{epoch}")
                chosen.shuffle(order)
                if self.groups is not None:
                    order = _grouped(order, self.groups, self.per_step)
            self._order = (epoch, order)
        return self._order[1]


_LOOK_AHEAD = 32  # groups tried for the rest of a step before one is broken up


def _grouped(order: list[int], groups: Sequence[int], per_step: int) -> list[int]:
    """An order in which groups stand together, in the order their first members have, and few lie across two steps."""
    members: dict[int, list[int]] = {}
    for index in order:
        members.setdefault(groups[index], []).append(index)
    waiting = deque(members.values())
    found: list[int] = []
    while waiting:
        room = per_step - len(found) % per_step
        # The first that fits; when none near does, the first is broken up, since steps have to be full.
        place = next((place for place, group in enumerate(islice(waiting, _LOOK_AHEAD)) if len(group) <= room), 0)
        waiting.rotate(-place)
        group = waiting.popleft()
        waiting.rotate(place)
        found += group[:room]
        if len(group) > room:
            waiting.appendleft(group[room:])
    return found


class Layout(Protocol):
    """How the examples of one step become forward passes."""

    def __call__(self, step: Sequence[int]) -> list[tuple[int, ...]]:
        """Part the example indices of a step into groups; each group is one forward pass.

        Every index is in exactly one group. What the groups are changes neither loss nor gradient of the step, only its
        speed and memory.
        """
        ...


@dataclass(frozen=True, slots=True)
class PlainLayout:
    """Groups of `batch_size` examples in the order they come, padded to the longest of the group."""

    batch_size: int

    def __call__(self, step: Sequence[int]) -> list[tuple[int, ...]]:
        """See `Layout`."""
        return [tuple(step[start : start + self.batch_size]) for start in range(0, len(step), self.batch_size)]


def split_by_image(images: Sequence[Sequence[str]], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Part examples into training and evaluation so that no picture is on both sides.

    Args:
        images: for each example the identities of its pictures.
        share: of the examples that evaluation gets, 0 to 1, met as nearly as whole groups allow.
        seed: decides which groups are held out.

    Returns:
        Indices to train on and to evaluate on, each in the order of the dataset. Evaluation is empty when `share` is 0
        or when all examples hang together by their pictures.
    """
    groups = _groups_sharing_images(images)
    wanted = round(share * len(images)) if share else 0
    if share and wanted == 0:
        wanted = 1
    random.Random(f"split/{seed}").shuffle(groups)
    held_out: list[int] = []
    for group in groups:
        # Small sets can only be met roughly; a group that would overshoot by more than it helps is left for training.
        if len(held_out) + len(group) / 2 <= wanted and len(held_out) + len(group) < len(images):
            held_out.extend(group)
    if wanted and not held_out and len(groups) > 1:
        held_out.extend(sorted(groups, key=len)[0])
    chosen = set(held_out)
    return [index for index in range(len(images)) if index not in chosen], sorted(chosen)


def _groups_sharing_images(images: Sequence[Sequence[str]]) -> list[list[int]]:
    """Examples connected by common pictures, as lists of indices (union by smallest member)."""
    parent = list(range(len(images)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first_with: dict[str, int] = {}
    for index, names in enumerate(images):
        for name in names:
            one, other = root(index), root(first_with.setdefault(name, index))
            parent[max(one, other)] = min(one, other)
    groups: dict[int, list[int]] = {}
    for index in range(len(images)):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())

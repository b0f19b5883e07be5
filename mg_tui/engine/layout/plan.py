"""The examples of each optimizer step. Free of torch.

A plan is a function of (seed, epoch, number of examples, examples per step) only: the same run has the same examples in
the same order on any machine. Steps are addressed by number, so that a resumed run continues at step k without reading
earlier ones. The last step of an epoch has the remaining examples, however few.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from mg_tui.core.steps import steps_per_epoch, total_steps


@dataclass(slots=True)
class StepPlan:
    """The steps of a run over `examples` examples, `per_step` at a time; step numbers count from 0 across epochs.

    `shuffle` False keeps the order of the dataset, as an evaluation does. `groups` has a number for each example: those
    with the same number (which show the same images, say) are met in the same step as far as steps allow. Groups come
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
        return steps_per_epoch(self.examples, self.per_step)

    def total_steps(self, epochs: float, max_steps: int | None = None) -> int:
        """Optimizer steps of the whole run; `max_steps` overrides `epochs`."""
        return total_steps(self.steps_per_epoch, epochs, max_steps)

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
                    order = _order_groups(order, self.groups, self.per_step)
            self._order = (epoch, order)
        return self._order[1]


_LOOK_AHEAD = 32  # groups tried for the rest of a step before one is broken up


def _order_groups(order: list[int], groups: Sequence[int], per_step: int) -> list[int]:
    """An order that keeps groups together, by their first members, with few groups split across two steps."""
    members: dict[int, list[int]] = {}
    for index in order:
        members.setdefault(groups[index], []).append(index)
    pending = deque(members.values())
    ordered: list[int] = []
    while pending:
        room = per_step - len(ordered) % per_step
        # The first that fits; when none near does, the first is broken up, since steps have to be full.
        place = next((place for place, group in enumerate(islice(pending, _LOOK_AHEAD)) if len(group) <= room), 0)
        pending.rotate(-place)
        group = pending.popleft()
        pending.rotate(place)
        ordered += group[:room]
        if len(group) > room:
            pending.appendleft(group[room:])
    return ordered

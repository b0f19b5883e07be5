"""The plan: seeded, complete, addressable; the split keeps an image on one side."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg_tui.engine.layout.plan import StepPlan


@given(examples=st.integers(1, 200), per_step=st.integers(1, 40), seed=st.integers(0, 5), epoch=st.integers(0, 3))
def test_every_epoch_meets_every_example_once(examples: int, per_step: int, seed: int, epoch: int) -> None:
    plan = StepPlan(examples, per_step, seed)
    first = epoch * plan.steps_per_epoch
    steps = [plan.step(number) for number in range(first, first + plan.steps_per_epoch)]
    assert sorted(index for step in steps for index in step) == list(range(examples))
    assert all(len(step) == per_step for step in steps[:-1])
    assert 1 <= len(steps[-1]) <= per_step


def test_a_step_is_found_without_its_predecessors() -> None:
    walked = StepPlan(1000, 7, seed=3)
    steps = [walked.step(number) for number in range(3 * walked.steps_per_epoch)]
    assert StepPlan(1000, 7, seed=3).step(290) == steps[290]
    assert walked.step(5) == steps[5], "going back works too"


def test_epochs_and_seeds_differ_and_repeat() -> None:
    plan = StepPlan(50, 50, seed=1)
    assert plan.step(0) != plan.step(1)
    assert plan.step(0) == StepPlan(50, 50, seed=1).step(0)
    assert plan.step(0) != StepPlan(50, 50, seed=2).step(0)
    assert StepPlan(5, 5, shuffle=False).step(3) == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("epochs", "max_steps", "expected"), [(3.0, None, 30), (0.5, None, 5), (0.01, None, 1), (0.3, None, 3), (3.0, 7, 7)]
)
def test_total_steps(epochs: float, max_steps: int | None, expected: int) -> None:
    assert StepPlan(100, 10).total_steps(epochs, max_steps) == expected


def test_a_hundred_thousand_examples_are_planned_in_a_moment() -> None:
    plan = StepPlan(100_000, 16)
    start = time.perf_counter()
    for number in range(plan.steps_per_epoch):
        plan.step(number)
    assert time.perf_counter() - start < 2


@given(st.lists(st.integers(0, 9), min_size=1, max_size=80), st.integers(1, 12), st.integers(0, 3))
def test_groups_change_the_order_and_nothing_else(groups: list[int], per_step: int, epoch: int) -> None:
    plan = StepPlan(len(groups), per_step, seed=1, groups=groups)
    steps = [plan.step(epoch * plan.steps_per_epoch + number) for number in range(plan.steps_per_epoch)]
    assert sorted(index for step in steps for index in step) == list(range(len(groups)))
    assert all(len(step) == per_step for step in steps[:-1])
    assert steps == [
        StepPlan(len(groups), per_step, seed=1, groups=groups).step(epoch * plan.steps_per_epoch + number)
        for number in range(plan.steps_per_epoch)
    ]


def test_examples_of_a_image_meet_in_a_step() -> None:
    groups = [index % 200 for index in range(1000)]  # five examples an image, far apart in the file
    plan = StepPlan(1000, 8, seed=3, groups=groups)
    images = sum(len({groups[index] for index in plan.step(number)}) for number in range(125))
    assert images <= 200 + 125  # at most one image more than need be in each step
    assert plan.step(0) != plan.step(125)


def test_a_large_dataset_is_planned_quickly_enough_to_wait_for() -> None:
    groups = [index // 5 for index in range(100_000)]
    assert len(StepPlan(100_000, 32, groups=groups).step(0)) == 32

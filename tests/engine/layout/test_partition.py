"""A step spread over ranks: every example once, as many passes everywhere, tokens balanced, images kept together."""

import random

import pytest

from mg_tui.engine.layout.partition import WORLD_VARIABLES, StepPartition, World, partition_step


def flatten(passes: tuple[tuple[int, ...], ...]) -> list[int]:
    return [place for item in passes for place in item]


@pytest.mark.parametrize("seed", range(30))
def test_every_example_is_done_once_by_somebody(seed: int) -> None:
    chosen = random.Random(seed)
    count, ranks, budget = chosen.randint(1, 60), chosen.randint(1, 9), chosen.choice([None, 300, 1000, 4000])
    groups = [chosen.randint(0, 12) for _ in range(count)]
    shared = [80 + group for group in groups]
    tokens = [shared[place] + chosen.randint(1, 900) for place in range(count)]
    result = partition_step(tokens, ranks, budget, groups=groups, shared=shared)

    assert sorted(place for passes in result for place in flatten(passes)) == list(range(count))
    assert len(result) == ranks
    assert len({len(passes) for passes in result}) == 1
    for passes in result:
        assert [bool(item) for item in passes] == sorted([bool(item) for item in passes], reverse=True)
        if not all(passes):  # a pass is empty only for want of examples
            assert all(len(item) <= 1 for item in passes)
    if count >= ranks:
        assert all(flatten(passes) for passes in result)
    assert result == partition_step(tokens, ranks, budget, groups=groups, shared=shared)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_tokens_are_balanced(seed: int, ranks: int) -> None:
    """No rank has more than a fair share and the longest example."""
    chosen = random.Random(seed)
    tokens = [int(chosen.lognormvariate(5.5, 0.8)) + 1 for _ in range(16 * ranks)]
    loads = [sum(tokens[place] for place in flatten(passes)) for passes in partition_step(tokens, ranks, 2048)]
    assert max(loads) <= sum(tokens) / ranks + max(tokens)
    assert max(loads) <= 1.2 * sum(tokens) / ranks


def test_passes_stay_within_the_budget() -> None:
    result = partition_step([400] * 32, 4, 1000)
    assert all(len(item) <= 2 for passes in result for item in passes)
    assert len(result[0]) == 4
    assert partition_step([5000, 10, 10, 10], 2, 1000)[0][0] == (0,)  # a longer one goes alone


def test_questions_about_a_image_stay_on_its_rank() -> None:
    groups = [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    result = partition_step([150] * 20, 4, 1000, groups=groups, shared=[100] * 20)
    assert sorted(sorted(flatten(passes)) for passes in result) == [list(range(5 * n, 5 * n + 5)) for n in range(4)]
    assert all(len(passes) == 1 for passes in result)  # 100 + 5 x 50 tokens


def test_one_image_of_all_is_no_reason_for_idle_ranks() -> None:
    result = partition_step([150] * 8, 4, 1000, groups=[0] * 8, shared=[100] * 8)
    assert [len(flatten(passes)) for passes in result] == [2, 2, 2, 2]


def test_which_rank_does_what_does_not_depend_on_the_budget() -> None:
    """So that a rank whose memory is short, and which lays out smaller, neither loses nor repeats a row."""
    tokens = [random.Random(1).randint(10, 900) for _ in range(40)]
    by_budget = [
        [sorted(flatten(passes)) for passes in partition_step(tokens, 3, budget)] for budget in (None, 100, 950, 10**6)
    ]
    assert all(result == by_budget[0] for result in by_budget)


def test_fewer_examples_than_ranks_leave_some_without() -> None:
    result = partition_step([10, 20], 3, 100)
    assert sorted(map(flatten, result)) == [[], [0], [1]]
    assert partition_step([], 2, 100) == ((), ())


def test_a_rank_finds_its_own_passes() -> None:
    step = [7, 3, 9, 4]
    tokens = [100] * 10
    parts = [StepPartition(World(rank, 2), tokens).rank_passes(step, 150) for rank in range(2)]
    assert sorted(index for passes in parts for item in passes for index in item) == sorted(step)
    assert [len(passes) for passes in parts] == [2, 2]


@pytest.mark.parametrize(
    ("environment", "world"),
    [
        ({}, World()),
        ({"MODEL_GARDEN_RANK": "1", "MODEL_GARDEN_WORLD_SIZE": "4", "MODEL_GARDEN_LOCAL_RANK": "0"}, World(1, 4, 0)),
        ({"MODEL_GARDEN_RANK": "1", "MODEL_GARDEN_WORLD_SIZE": "4"}, World(1, 4, 1)),
        (World(5, 8, 1, 4).as_environment(), World(5, 8, 1, 4)),
        ({"MODEL_GARDEN_RANK": "0", "MODEL_GARDEN_WORLD_SIZE": "1"}, World()),
        ({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, World()),  # another launcher's
        ({"MODEL_GARDEN_RANK": "5", "MODEL_GARDEN_WORLD_SIZE": "4"}, World()),
        ({"MODEL_GARDEN_RANK": "a", "MODEL_GARDEN_WORLD_SIZE": "4"}, World()),
    ],
)
def test_the_world_is_what_the_launcher_says(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], world: World
) -> None:
    for name in WORLD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert World.from_environment() == world


@pytest.mark.parametrize(("ranks", "budget"), [(0, 10), (2, 0)])
def test_nonsense_is_refused(ranks: int, budget: int) -> None:
    with pytest.raises(ValueError):
        partition_step([1], ranks, budget)

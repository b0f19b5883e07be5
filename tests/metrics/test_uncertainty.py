"""Intervals, what changed between two models, and groups."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mg_tui.core.errors import UsageError
from mg_tui.metrics.contract import Scores
from mg_tui.metrics.groups import by_group, group_labels, groupable
from mg_tui.metrics.uncertainty import compare, intervals

Run = Callable[..., Scores]


def rows(right: int, wrong: int) -> list[tuple[str, str]]:
    return [("yes", "yes")] * right + [("no", "yes")] * wrong


def test_an_interval_of_a_share_is_the_binomials(scores_of: Run) -> None:
    scores = scores_of("exact_match", *rows(140, 60))
    (interval,) = intervals([scores], resamples=4000)
    half = 1.96 * (0.7 * 0.3 / 200) ** 0.5
    assert interval.low == pytest.approx(0.7 - half, abs=0.01)
    assert interval.high == pytest.approx(0.7 + half, abs=0.01)
    assert intervals([scores], resamples=4000) == [interval]
    assert intervals([scores], resamples=4000, seed=1) != [interval]


def test_aggregates_that_are_no_mean_are_drawn_from_their_statistics(scores_of: Run) -> None:
    chance = random.Random(2)
    pairs = [("a b c d e", "a b c d e") if chance.random() < 0.5 else ("a b", "a b c d e") for _ in range(60)]
    names = ("bleu", "chrf", "wer", "macro_f1", "exact_match")
    scores = [scores_of(name, *pairs) for name in names]
    # By hand: the aggregate of rows that are really drawn, with the same generator.
    generator = np.random.default_rng(3407)
    drawn = generator.integers(0, 60, size=(200, 60))
    for one, interval in zip(scores, intervals(scores, resamples=200), strict=True):
        values = [float(one.combine(one.statistics[places].sum(axis=0))) for places in drawn]
        assert interval.low == pytest.approx(float(np.quantile(values, 0.025)))
        assert interval.high == pytest.approx(float(np.quantile(values, 0.975)))


def test_draws_in_portions_are_the_same_draws(scores_of: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = scores_of("exact_match", *rows(30, 20))
    whole = intervals([scores])
    monkeypatch.setattr("mg_tui.metrics.uncertainty._MAX_DRAWS", 50 * 7)
    assert intervals([scores]) == whole


def test_rows_of_one_image_are_no_independent_rows(scores_of: Run) -> None:
    pairs = rows(100, 100)
    scores = scores_of("exact_match", *pairs)
    images = [f"{index // 5}.png" for index in range(200)]
    (alone,) = intervals([scores])
    (together,) = intervals([scores], images)
    assert together.high - together.low > 1.8 * (alone.high - alone.low)


def test_a_clear_difference(scores_of: Run) -> None:
    before, after = scores_of("exact_match", *rows(20, 30)), scores_of("exact_match", *rows(40, 10))
    found = compare(before, after)
    assert found.verdict == "better"
    assert found.change == pytest.approx(0.4)
    assert found.fixed == tuple(range(21, 41)) == found.improved
    assert found.broken == found.worsened == ()
    assert found.unchanged == 30
    assert found.probability < 0.01
    assert "from 0.400 to 0.800" in found.sentence and found.sentence.endswith("better.")
    back = compare(after, before)
    assert (back.verdict, back.broken, back.fixed) == ("worse", tuple(range(21, 41)), ())


def test_an_error_that_falls_is_better(scores_of: Run) -> None:
    before, after = scores_of("cer", *rows(20, 30)), scores_of("cer", *rows(40, 10))
    found = compare(before, after)
    assert found.verdict == "better"
    assert found.change < 0
    assert len(found.fixed) == 20


def test_pairing_sees_what_two_intervals_hide(scores_of: Run) -> None:
    before, after = scores_of("exact_match", *rows(100, 100)), scores_of("exact_match", *rows(112, 88))
    first, second = intervals([before])[0], intervals([after])[0]
    assert first.high > second.low  # apart they overlap
    assert compare(before, after).verdict == "better"


def test_chance_is_no_difference(scores_of: Run) -> None:
    pairs = rows(25, 25)
    found = compare(scores_of("exact_match", *pairs), scores_of("exact_match", *pairs[1:], pairs[0]))
    assert found.verdict == "no clear difference"
    assert found.probability > 0.5
    assert (found.fixed, found.broken) == ((50,), (25,))
    same = compare(scores_of("exact_match", *pairs), scores_of("exact_match", *pairs))
    assert (same.verdict, same.unchanged, same.probability) == ("no clear difference", 50, 1)


def test_nothing_is_claimed_under_thirty_rows(scores_of: Run) -> None:
    before, after = scores_of("exact_match", *rows(0, 29)), scores_of("exact_match", *rows(29, 0))
    found = compare(before, after)
    assert found.verdict == "too few rows"
    assert "29 independent rows are too few" in found.sentence
    # 60 rows about 12 images are 12 observations.
    many = compare(
        scores_of("exact_match", *rows(0, 60)), scores_of("exact_match", *rows(60, 0)), [row // 5 for row in range(60)]
    )
    assert (many.verdict, many.independent) == ("too few rows", 12)


def test_different_rows_or_metrics_are_not_compared(scores_of: Run) -> None:
    scores = scores_of("exact_match", *rows(3, 3))
    with pytest.raises(UsageError, match="different rows"):
        compare(scores, scores_of("exact_match", *rows(3, 4)))
    with pytest.raises(UsageError, match="exact_match@1 cannot be compared with anls@1"):
        compare(scores, scores_of("anls", *rows(3, 3)))


def test_a_metric_that_calls_no_row_right_has_none_fixed(scores_of: Run) -> None:
    found = compare(scores_of("rouge_l", ("a", "a b")), scores_of("rouge_l", ("a b", "a b")))
    assert (found.fixed, found.broken, found.improved) == ((), (), (1,))


def test_groups_are_worst_first_and_small_ones_last(scores_of: Run) -> None:
    scores = scores_of("exact_match", *rows(8, 2), *rows(2, 8), *rows(0, 2), *rows(5, 5))
    groups = by_group(scores, ["invoice"] * 10 + ["receipt"] * 10 + ["letter"] * 2 + [None] * 10)
    assert [(group.value, group.score, len(group.rows), group.small) for group in groups] == [
        ("receipt", 0.2, 10, False),
        ("(none)", 0.5, 10, False),
        ("invoice", 0.8, 10, False),
        ("letter", 0.0, 2, True),
    ]
    assert groups[0].rows == tuple(range(11, 21))
    assert groups[0].interval.low < 0.2 < groups[0].interval.high


def test_groups_of_an_error_are_worst_first_too(scores_of: Run) -> None:
    groups = by_group(scores_of("cer", *rows(8, 2), *rows(2, 8)), ["a"] * 10 + ["b"] * 10)
    assert [group.value for group in groups] == ["b", "a"]


def test_many_numbers_are_ranges() -> None:
    labels = group_labels(list(range(100)))
    assert sorted(set(labels)) == ["0 to below 25", "25 to below 50", "50 to below 75", "75 to 99"]
    assert labels[25] == "25 to below 50"
    assert group_labels([1, 2, 1]) == ["1", "2", "1"]
    assert group_labels([*range(20), None])[-1] == "(none)"
    assert group_labels([True, False, "x\x1b[31m"]) == ["True", "False", "x\ufffd[31m"]


def test_columns_that_part_the_rows() -> None:
    columns: list[dict[str, Any]] = [
        {"id": f"{n}", "kind": "ab"[n % 2], "same": 1, "boxes": [n], "width": n * 1.5, "rare": "x" if n == 3 else None}
        for n in range(60)
    ]
    assert groupable(columns) == ["kind", "width", "rare"]

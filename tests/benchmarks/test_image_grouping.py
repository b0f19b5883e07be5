"""The study of grouping: its table and its plot say what its trainings found."""

import xml.dom.minidom
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def grouping(benchmark_module: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_module("image_grouping")


def sample_results() -> list[dict[str, Any]]:
    return [
        {
            "task": "demo",
            "shared": shared,
            "seed": seed,
            "curve": [(0, 0.0, 0.0), (1600, 10.0 + 9 * (not shared), score)],
        }
        for shared, scores in ((True, (0.9, 0.8)), (False, (0.7, 0.5)))
        for seed, score in enumerate(scores)
    ]


def test_means_and_ranges_of_the_seeds(grouping: ModuleType) -> None:
    lines = grouping.format_table(sample_results()).splitlines()
    assert lines[-1] == "| the demo's task | 1,600 | 85 % (80 to 90) | 60 % (50 to 70) | 10.0 | 19.0 |"
    assert len(lines) == 4, "a task without trainings has no rows"


def test_the_plot_has_a_line_for_every_training_and_axis(grouping: ModuleType) -> None:
    plot = xml.dom.minidom.parseString(grouping.format_plot(sample_results()))
    assert len(plot.getElementsByTagName("polyline")) == 8

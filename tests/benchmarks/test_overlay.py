"""The engine's loss curve lies on that of plain one-by-one training; `benchmarks/overlay.py` shows more steps of it."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def overlay(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    described = importlib.util.spec_from_file_location("overlay", BENCHMARKS / "overlay.py")
    assert described is not None and described.loader is not None
    module = importlib.util.module_from_spec(described)
    monkeypatch.setitem(sys.modules, "overlay", module)
    described.loader.exec_module(module)
    threads = torch.get_num_threads()
    yield module
    torch.set_num_threads(threads)


def test_losses_of_both_ways_are_one_curve(overlay: ModuleType, tmp_path: Path) -> None:
    rows = overlay.make_rows(tmp_path, overlay.KINDS["vqa"], 4)
    told: list[str] = []
    curves = overlay.compare(rows, steps=4, per_step=10, told=told.append)
    assert curves.largest < 1e-5
    assert curves.plain[-1] < curves.plain[0]  # it has learned: the curves are not flat
    assert len(told) == 5
    drawing = overlay.picture(curves)
    assert drawing.count("<polyline") == 2 and "largest relative difference" in drawing

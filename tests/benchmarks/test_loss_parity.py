"""The engine's loss curve equals that of plain one-by-one training; `benchmarks/loss_parity.py` does more steps."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture
def overlay(benchmark_module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    module = benchmark_module("loss_parity")
    threads = torch.get_num_threads()
    yield module
    torch.set_num_threads(threads)


def test_losses_of_both_ways_are_one_curve(overlay: ModuleType, tmp_path: Path) -> None:
    rows = overlay.make_rows(tmp_path, overlay.KINDS["vqa"], 4)
    reported: list[str] = []
    curves = overlay.compare(rows, steps=4, per_step=10, report=reported.append)
    assert curves.largest < 1e-5
    assert curves.plain[-1] < curves.plain[0]  # it has learned: the curves are not flat
    assert len(reported) == 5
    drawing = overlay.format_plot(curves)
    assert drawing.count("<polyline") == 2 and "largest relative difference" in drawing


def test_losses_of_another_family_are_one_curve_too(overlay: ModuleType, tmp_path: Path) -> None:
    """One position axis, images that see themselves, windows."""
    rows = overlay.make_rows(tmp_path, overlay.KINDS["vqa"], 2)
    curves = overlay.compare_family(rows, "gemma3", 2, 5, tmp_path / "checkpoint")
    assert len(curves.plain) == 2 and curves.largest < 1e-5
    with pytest.raises(SystemExit, match="no family nothing"):
        overlay.compare_family(rows, "nothing", 2, 5, tmp_path / "checkpoint")

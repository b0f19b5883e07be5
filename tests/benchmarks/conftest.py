"""Benchmarks are commands, not modules of the project: they are imported by their file."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a benchmark by its name, with `harness` beside it."""

    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        described = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        assert described is not None and described.loader is not None
        module = importlib.util.module_from_spec(described)
        monkeypatch.setitem(sys.modules, name, module)
        described.loader.exec_module(module)
        return module

    return load

"""The modules of the container's own process, which are plain files beside each other there."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

CONTAINER = Path(__file__).resolve().parents[2] / "docker" / "container"
MODULES = ("init", "start_checks", "restart", "unsaved", "cloud")


@pytest.fixture(scope="session")
def container() -> Iterator[dict[str, ModuleType]]:
    """Its modules by name."""
    before = {name: sys.modules.pop(name, None) for name in MODULES}
    sys.path.insert(0, str(CONTAINER))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path[:] = [entry for entry in sys.path if entry != str(CONTAINER)]
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module

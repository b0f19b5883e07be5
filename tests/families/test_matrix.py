"""The matrix in docs/families.md: every installed family and check is in it, and it is what the kit finds."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mg_tui.families import ModelFamily
from mg_tui.families.registry import load_registry

SCRIPT = Path(__file__).parents[2] / "scripts" / "family_matrix.py"


@pytest.fixture(scope="module")
def matrix() -> Any:
    spec = importlib.util.spec_from_file_location("family_matrix", SCRIPT)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_every_family_and_check(matrix: Any) -> None:
    from mg_tui.engine.conformance.checks import LIVE_CHECKS
    from mg_tui.families import conformance

    columns = matrix.read_matrix(matrix.PAGE.read_text(encoding="utf-8"))
    assert list(columns) == [family.title for family in load_registry().families], "run scripts/family_matrix.py"
    checks = [*conformance.INPUT_CHECKS, *conformance.WEIGHT_CHECKS, *(check for check, _capability in LIVE_CHECKS)]
    names = [matrix.DECLARATION, *(check.__name__.replace("_", " ") for check in checks)]
    for title, column in columns.items():
        assert list(column) == names, f"run scripts/family_matrix.py: {title}"
        assert "no" not in column.values(), title


def test_the_table_is_read_as_it_is_written(matrix: Any) -> None:
    columns = {
        "One": {"a": "yes", "b": "no"},
        "Two": {"a": "its state | cannot be forked".replace("| ", ""), "b": "yes"},
    }
    page = f"before\n{matrix.START}\n{matrix.format_matrix(columns)}\n{matrix.END}\nafter"
    assert matrix.read_matrix(page) == columns


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", load_registry().families, ids=lambda family: family.key)
def test_the_kit_finds_what_the_page_says(matrix: Any, family: ModelFamily) -> None:
    columns = matrix.read_matrix(matrix.PAGE.read_text(encoding="utf-8"))
    assert matrix.run_family(family) == columns[family.title]

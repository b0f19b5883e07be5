"""The list of models: sorted by what was measured, and a trash for results."""

import json
from pathlib import Path

import pytest

from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.tui.models.catalog import ModelRow
from mg_tui.tui.models.sorting import model_orders, sort_models
from mg_tui.tui.screens.choose import ChoiceTable, ChooseScreen
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.models import ModelsScreen
from mg_tui.tui.widgets.models.model_table import ModelTable
from tests.tui.synthetic_places import make_result

pytestmark = pytest.mark.asyncio


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name, ago, anls in (("alpha", 300.0, 0.5), ("beta", 200.0, 0.875), ("gamma", 100.0, None)):
        folder = make_result(tmp_path, name, ago=ago, eval_loss=0.4)
        if anls is not None:
            _evaluate(tmp_path, folder, anls)
    return tmp_path


def _evaluate(home: Path, model: Path, anls: float) -> None:
    folder = EvaluationFolder(home / "evaluations" / f"20261101-000000-{model.name}")
    folder.results_dir.mkdir(parents=True)
    folder.spec_file.write_text(json.dumps({"model": str(model), "dataset": "/data/test.jsonl"}))
    metrics = [
        {"name": "anls", "score": anls, "higher_is_better": True},
        {"name": "cer", "score": 1 - anls, "higher_is_better": False},
    ]
    (folder.results_dir / "summary.json").write_text(json.dumps({"rows": 40, "metrics": metrics}))


async def _models(app, pilot, until) -> ModelTable:
    await pilot.press("4")
    await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and app.screen.rows)
    return app.screen.query_one(ModelTable)


def _names(table: ModelTable) -> list[str]:
    return [row.title for row in table.rows if row.is_result]


async def _sort(app, pilot, until, title: str) -> None:
    await pilot.press("s")
    await until(pilot, lambda: isinstance(app.screen, ChooseScreen) and app.screen.query_one(ChoiceTable).rows)
    table = app.screen.query_one(ChoiceTable)
    table.move(next(index for index, row in enumerate(table.rows) if row.title == title))
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, ModelsScreen))


async def test_sorted_by_a_metric_of_evaluations(results, dashboard, size, text, until) -> None:
    app = dashboard(results)
    async with app.run_test(size=size) as pilot:
        table = await _models(app, pilot, until)
        assert _names(table) == ["gamma", "beta", "alpha"]
        await _sort(app, pilot, until, "anls")
        await until(pilot, lambda: _names(table) == ["beta", "alpha", "gamma"])
        await until(pilot, lambda: all(part in text(app) for part in ("anls", "0.8750", "0.5000")))
        await pilot.press("S")
        await until(pilot, lambda: _names(table) == ["alpha", "beta", "gamma"])
        await _sort(app, pilot, until, "cer")
        await until(pilot, lambda: _names(table) == ["beta", "alpha", "gamma"])  # less is better
        await _sort(app, pilot, until, "Name")
        await until(pilot, lambda: _names(table) == ["alpha", "beta", "gamma"])


async def test_a_deleted_model_is_brought_back(results, dashboard, size, text, until) -> None:
    app, folder = dashboard(results), results / "models" / "gamma"
    async with app.run_test(size=size) as pilot:
        table = await _models(app, pilot, until)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen) and "trash" in text(app))
        await pilot.press("y")
        await until(pilot, lambda: not folder.exists() and _names(table) == ["beta", "alpha"])
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
        await pilot.press("u")
        await until(pilot, lambda: folder.is_dir() and _names(table) == ["gamma", "beta", "alpha"])
        await pilot.press("u")
        await until(pilot, lambda: "no models to restore" in app.message_log[-1].text)


async def test_a_base_model_is_not_deleted(results, dashboard, until) -> None:
    app = dashboard(results)
    async with app.run_test(size=(80, 24)) as pilot:
        table = await _models(app, pilot, until)
        await until(pilot, lambda: any(row.kind == "base" for row in table.rows))
        table.move(next(index for index, row in enumerate(table.rows) if row.kind == "base"))
        await pilot.press("x")
        await pilot.pause(0.2)
        assert isinstance(app.screen, ModelsScreen)


async def test_ties_and_models_without_a_value_stay_in_order() -> None:
    rows = [ModelRow(name, "adapter", name, bytes=size) for name, size in (("b", 0), ("c", 5), ("a", 5))]
    order = next(order for order in model_orders(rows) if order.id == "size")
    assert [row.title for row in sort_models(rows, order, reverse=False)] == ["c", "a", "b"]

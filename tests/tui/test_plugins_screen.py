"""The place of plugins: the same source as `model-garden plugins`, and why one is broken."""

import pytest

from mg_tui.families.plugin_loader import PluginStatus
from mg_tui.families.registry import Registry, load_registry
from mg_tui.metrics import row_metric
from mg_tui.metrics.registry import MetricPlugin, MetricRegistry, load_metrics
from mg_tui.tui.screens.plain_text import PlainTextScreen
from mg_tui.tui.widgets.plugins.table import PluginRow, PluginTable, plugin_lines
from tests.tui.synthetic_runs import HOSTILE

pytestmark = pytest.mark.asyncio


def _with(registry: Registry, *more: PluginStatus, unknown: tuple[str, ...] = ()) -> Registry:
    return Registry(registry.families, (*registry.plugins, *more), registry.conflicting_model_types, unknown)


async def _open(app, pilot, until) -> PluginTable:
    await pilot.press("5")
    await until(pilot, lambda: app.screen.query(PluginTable) and app.screen.query_one(PluginTable).rows)
    return app.screen.query_one(PluginTable)


async def test_families_versions_and_what_works(tmp_path, dashboard, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        table = await _open(app, pilot, until)
        registry = load_registry()
        assert [row.status for row in table.rows] == list(registry.plugins)
        screen_text = text(app)
        assert "✓ ok" in screen_text and registry.families[0].title in screen_text
        whole = "\n".join(line.plain for line in plugin_lines(table.rows[0], 100))
        for checkpoint in registry.families[0].checkpoints:
            assert checkpoint.name in whole
        assert "lora_language" in whole and "supported" in whole
        await pilot.press("enter", "G")
        assert app.focused.id == "about-plugin"
        await pilot.press("escape")
        assert app.focused is table
        await pilot.press("y")
        assert isinstance(app.screen, PlainTextScreen) and registry.families[0].key in app.screen.text


async def test_metric_plugins_with_their_metrics_and_why_one_is_broken(
    tmp_path, dashboard, size, text, until, monkeypatch
) -> None:
    metric = row_metric("contains", lambda answer, references: 1.0, title="Contains a reference", version="3")
    good = MetricPlugin("papers", "mg-papers", "1.2", "mg_papers", "papers.py", "ok", None, (metric,))
    bad = MetricPlugin("torn", "mg-torn", "0.1", "mg_torn", None, "broken", "ImportError: no module named torn")
    registry = MetricRegistry(load_metrics().metrics, (good, bad))
    monkeypatch.setattr("mg_tui.metrics.registry.load_metrics", lambda: registry)
    families = _with(load_registry(), unknown=("papers", "nobody"))
    monkeypatch.setattr("mg_tui.families.registry.reload_registry", lambda: families)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        table = await _open(app, pilot, until)
        assert [row.status for row in table.rows[-2:]] == [good, bad]
        assert "✗ 1 broken" in text(app)
        table.move(len(table.rows) - 2)
        await until(pilot, lambda: "Contains a reference" in text(app) and "contains 3" in text(app))
        await pilot.press("j")
        await until(pilot, lambda: "no module named torn" in text(app))
        said = " ".join(notice.message for notice in app._notifications)
        assert "nobody" in said and "papers" not in said  # a plugin of metrics that is disabled is known


async def test_a_broken_one_says_why_and_hostile_text_does_nothing(
    tmp_path, dashboard, size, text, until, monkeypatch
) -> None:
    broken = PluginStatus(HOSTILE, "pkg", "1.0", "mod", None, "broken", f"ImportError: {HOSTILE} (mod.py, line 3)")
    off = PluginStatus("off", None, None, "off", None, "disabled")
    registry = _with(load_registry(), broken, off, unknown=("nobody",))
    monkeypatch.setattr("mg_tui.families.registry.reload_registry", lambda: registry)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        table = await _open(app, pilot, until)
        table.move(next(at for at, row in enumerate(table.rows) if row.status is broken))
        await pilot.press("j", "k")
        assert table.current is not None and table.current.status is broken
        await until(pilot, lambda: "ImportError" in text(app))
        assert "✗ broken" in text(app) and "1 broken" in text(app) and "– disabled" in text(app)
        assert "\x1b" not in text(app) and "\u202e" not in text(app)
        assert any("nobody" in notice.message for notice in app._notifications)
        detail = "\n".join(line.plain for line in plugin_lines(PluginRow(off, ()), 80))
        assert "MODEL_GARDEN_DISABLE_PLUGINS" in detail


async def test_none_installed_and_none_that_can_be_looked_for(
    tmp_path, dashboard, size, text, until, monkeypatch
) -> None:
    monkeypatch.setattr("mg_tui.families.registry.reload_registry", lambda: Registry((), ()))
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "pip install model-garden-tui" in text(app))
        await pilot.press("enter", "y", "j", "escape")

    def fails():
        raise RuntimeError("the metadata cannot be read")

    monkeypatch.setattr("mg_tui.families.registry.reload_registry", fails)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "the metadata cannot be read" in text(app))

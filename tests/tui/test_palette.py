"""The command palette: keys beside actions, and jumps."""

from pathlib import Path

import pytest
from textual.command import CommandList, CommandPalette

from mg_tui.runs import recents
from mg_tui.tui.screens.dataset import DatasetScreen
from mg_tui.tui.screens.models import ModelsScreen
from mg_tui.tui.screens.new import NewRunScreen
from mg_tui.tui.screens.palette import GardenPalette
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.screens.settings import SettingsScreen
from mg_tui.tui.widgets.models.model_table import ModelTable
from tests.tui.synthetic_runs import synthetic_home

pytestmark = pytest.mark.asyncio


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "own.toml"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "papers.jsonl").write_text('{"text": "a", "response": "b"}\n')
    with synthetic_home(tmp_path / "home") as created:
        recents.remember(created, "datasets", str(tmp_path / "papers.jsonl"))
        yield created


def offered(app) -> list[str]:
    if not isinstance(app.screen, CommandPalette):
        return []
    options = app.screen.query_one(CommandList)
    return [str(options.get_option_at_index(index).prompt) for index in range(options.option_count)]


async def _find(app, pilot, until, words: str, expected: str) -> list[str]:
    """Open the palette and type; the first entry has `expected`."""
    await until(pilot, lambda: app.run_rows)
    await pilot.press("ctrl+p", *words)
    await until(pilot, lambda: (found := offered(app)) and expected in found[0], 20)
    return offered(app)


async def test_actions_are_offered_with_their_keys(home, dashboard, size, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.run_rows)
        await pilot.press("ctrl+p")
        await until(pilot, lambda: any("Open the run" in item and "enter" in item for item in offered(app)))
        await pilot.press("escape")
        first = (await _find(app, pilot, until, "filter the runs", "Filter the runs"))[0]
        assert "/" in first
        app.apply_keymap({"runs.filter": "f7"})
        await pilot.press("escape")
        assert "f7" in (await _find(app, pilot, until, "filter the runs", "Filter the runs"))[0]


async def test_a_run(home, dashboard, size, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        assert "failed" in (await _find(app, pilot, until, "handwriting", "handwriting"))[0]
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert app.screen.folder.id.endswith("handwriting")


async def test_a_dataset(home, dashboard, size, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await _find(app, pilot, until, "papers.jsonl", "papers.jsonl")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DatasetScreen))
        assert app.current_mode == "datasets"


async def test_a_model(home, dashboard, size, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await _find(app, pilot, until, "tiny", "tiny")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and app.screen.selected is not None)
        await until(pilot, lambda: app.screen.query_one(ModelTable).current.reference == "tiny")


async def test_a_setting(home, dashboard, size, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await _find(app, pilot, until, "update rate", "Update rate")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, SettingsScreen) and app.screen.table.current is not None)
        await until(pilot, lambda: app.screen.table.current.id == "ui.updates_per_second")


@pytest.mark.parametrize(
    ("words", "title", "name"), [("bf16", "Compute dtype", "dtype"), ("lora rank", "LoRA rank", "lora_r")]
)
async def test_an_option_also_by_the_words_of_other_tools(home, dashboard, size, until, words, title, name) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await _find(app, pilot, until, words, title)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen) and app.screen.draft is not None)
        await until(pilot, lambda: app.screen.table.current is not None and app.screen.table.current.id == name)


async def test_closed_while_it_gathers_commands(home, dashboard) -> None:
    """Its worker then has no list to fill: a NoMatches ended the dashboard."""
    app = dashboard(home)
    async with app.run_test(size=(60, 20)):
        palette = GardenPalette()  # as after its end: nothing is mounted
        await palette._gather_while_open("r")
        assert app.is_running

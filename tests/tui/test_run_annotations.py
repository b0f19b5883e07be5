"""Names, notes, tags, columns and saved filters, by keys."""

from pathlib import Path

import pytest
from textual.widgets import Input

from mg_tui.config import load_settings
from mg_tui.runs.annotations import Annotations, read_annotations
from mg_tui.tui.screens.choose import ChooseScreen, NameScreen
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.widgets.runs.run_table import RunTable
from tests.tui.synthetic_runs import synthetic_home

pytestmark = pytest.mark.asyncio


@pytest.fixture
def home(tmp_path: Path):
    with synthetic_home(tmp_path / "home") as created:
        yield created


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "own.toml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own.toml"


async def _ready(app, pilot, until) -> RunTable:
    await until(pilot, lambda: app.screen.query(RunTable) and app.screen.query_one(RunTable).rows)
    return app.screen.query_one(RunTable)


async def test_rename_note_and_tags(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        table = await _ready(app, pilot, until)
        folder = table.rows[0].folder
        await pilot.press("T")
        assert app.screen.query_one(Input).value == "floor-plans"
        await pilot.press("ctrl+u", *"plans 2", "enter")
        await until(pilot, lambda: table.rows[0].title == "plans 2")
        await pilot.press("N", *"drawn by hand", "enter")
        await until(pilot, lambda: table.rows[0].annotations.note == "drawn by hand")
        await pilot.press("t", *"good paper", "enter")
        await until(pilot, lambda: "#good #paper" in text(app) and "✎ drawn by hand" in text(app))
        assert read_annotations(folder) == Annotations("plans 2", "drawn by hand", ("good", "paper"))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.detail is not None)
        await pilot.press("t")
        assert app.screen.query_one(Input).value == "good paper"
        await pilot.press("ctrl+u", "enter", "n")
        await until(pilot, lambda: "✎ drawn by hand" in text(app) and "#good" not in text(app))
        await pilot.press("N", "ctrl+u", "enter", "T", "ctrl+u", "enter")
        await until(pilot, lambda: "floor-plans" in text(app) and "✎" not in text(app))
        assert read_annotations(folder) == Annotations()


async def test_a_question_that_is_closed_changes_nothing(home, dashboard, until) -> None:
    app = dashboard(home)
    async with app.run_test() as pilot:
        table = await _ready(app, pilot, until)
        for key in ("T", "N", "t"):
            await pilot.press(key, *"x", "escape")
            assert not isinstance(app.screen, NameScreen)
        assert not table.rows[0].folder.annotations_file.exists()


async def test_a_bad_tag_is_said(home, dashboard, until) -> None:
    app = dashboard(home)
    async with app.run_test() as pilot:
        await _ready(app, pilot, until)
        await pilot.press("t", *("x" * 40), "enter")
        await until(pilot, lambda: any("is no tag" in notice.message for notice in app._notifications))


async def test_tags_of_marked_runs_and_a_filter_by_them(home, dashboard, size, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        table = await _ready(app, pilot, until)
        await pilot.press("space", "space", "t", *"good old", "enter")
        await until(pilot, lambda: [row.annotations.tags for row in table.rows[:2]] == [("good", "old")] * 2)
        await pilot.press("t", *"-old new", "enter")
        await until(pilot, lambda: [row.annotations.tags for row in table.rows[:2]] == [("good", "new")] * 2)
        await pilot.press("slash", *"#good -floor")
        await until(pilot, lambda: [row.title for row in table.rows] == ["invoices-v2"])


async def test_a_filter_is_saved_applied_and_removed(home, dashboard, own_file, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        table = await _ready(app, pilot, until)
        await pilot.press("f", "F")  # none is saved, and none is there to save
        assert app.screen.query(RunTable)
        await pilot.press("slash", *"failed", "enter", "F")
        assert isinstance(app.screen, NameScreen)
        await pilot.press(*"broken", "enter")
        await until(pilot, lambda: load_settings().filters == {"broken": "failed"} == app.settings.filters)
        await pilot.press("escape")
        await until(pilot, lambda: len(table.rows) == 6)
        await pilot.press("f")
        assert isinstance(app.screen, ChooseScreen)
        await until(pilot, lambda: "broken" in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: [row.title for row in table.rows] == ["handwriting"] and app.focused is table)
        assert app.screen.query_one("#filter", Input).value == "failed"
        await pilot.press("F")
        assert isinstance(app.screen, ConfirmScreen)
        await pilot.press("y")
        await until(pilot, lambda: load_settings().filters == {} == app.settings.filters)
    assert own_file.exists()


async def test_columns_are_chosen_and_kept(home, dashboard, own_file, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        table = await _ready(app, pilot, until)
        assert "Progress" in text(app) and " Dataset " not in text(app)
        await pilot.press("vertical_line")
        assert isinstance(app.screen, ChooseScreen)
        for _ in range(9):
            await pilot.press("space", "j")  # none of the usual ones
        await pilot.press("j", "space", "enter")  # the one after the id
        await until(pilot, lambda: " Dataset " in text(app) and "Progress" not in text(app))
        assert "/data/invoices-v2/train.jsonl"[:14] in text(app)
        assert load_settings().ui["run_columns"] == ("dataset",)
    app = dashboard(home, run_columns=("name", "dataset", "time"))
    async with app.run_test(size=size) as pilot:
        table = await _ready(app, pilot, until)
        assert [column.title for column, _ in table._column_layout()] == ["Name", "Dataset", "Time"]
        await pilot.press("vertical_line")
        for _ in range(3):
            await pilot.press("space", "j")
        await pilot.press("enter")
        await until(pilot, lambda: "run_columns" not in own_file.read_text() and "Progress" in text(app))

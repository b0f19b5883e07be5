"""The list of runs, driven by keys."""

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.state import RunState
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.help import HelpScreen
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.widgets.runs.run_table import RunTable

pytestmark = pytest.mark.asyncio


async def _ready(app, pilot, until):
    await until(pilot, lambda: app.screen.query(RunTable) and app.screen.query_one(RunTable).rows)
    return app.screen.query_one(RunTable)


async def test_every_run_is_shown_with_glyph_and_word(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        table = await _ready(app, pilot, until)
        screen_text = text(app)
        for state in set(RunState) - {RunState.QUEUED, RunState.INTERRUPTED}:  # no synthetic run is either
            assert f"{state.glyph} {state.label}" in screen_text
        assert [row.title for row in table.rows][:2] == ["floor-plans", "invoices-v2"]
        assert "62%" in screen_text and "310/500" in screen_text
        assert "1 running" in screen_text and "6 runs" in screen_text


async def test_keys_move(home, dashboard, size, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        table = await _ready(app, pilot, until)
        for key, row in (("j", 1), ("down", 2), ("k", 1), ("G", 5), ("j", 5), ("g", 0), ("up", 0), ("pagedown", 5)):
            await pilot.press(key)
            assert table.cursor == row, key


async def test_the_filter(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        table = await _ready(app, pilot, until)
        await pilot.press("slash", *"failed")
        await until(pilot, lambda: [row.title for row in table.rows] == ["handwriting"])
        await pilot.press("enter")
        assert app.focused is table
        await pilot.press("escape")
        await until(pilot, lambda: len(table.rows) == 6)
        await pilot.press("slash", *"zzz")
        await until(pilot, lambda: "No run matches zzz" in text(app))
        await pilot.press("escape")
        await until(pilot, lambda: len(table.rows) == 6 and app.focused is table)


async def test_open_and_back(home, dashboard, size, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await _ready(app, pilot, until)
        await pilot.press("j", "enter")
        assert isinstance(app.screen, RunScreen)
        await pilot.press("1")
        assert not isinstance(app.screen, RunScreen)


async def test_stop_asks_with_the_focus_on_no(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        table = await _ready(app, pilot, until)
        await pilot.press("s")  # the first run is not running: nothing to stop
        assert not isinstance(app.screen, ConfirmScreen)
        await pilot.press("j", "s")
        assert isinstance(app.screen, ConfirmScreen)
        assert app.focused.id == "no" and "Stop invoices-v2?" in text(app)
        await pilot.press("enter")
        control = table.rows[1].folder.control_dir
        await pilot.pause(0.1)
        assert list(control.iterdir()) == []
        await pilot.press("s", "right", "enter")
        await until(pilot, lambda: [file.name for file in control.iterdir() if "-stop-" in file.name])
        for file in control.iterdir():
            file.unlink()


async def test_help_light_and_palette(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await _ready(app, pilot, until)
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpScreen) and "Open the run" in text(app)
        await pilot.press("G", "g", "j", "k", "pagedown", "pageup", "q")
        assert not isinstance(app.screen, HelpScreen)
        await pilot.press("ctrl+t")
        assert app.theme == "garden-light"
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "Filter the runs" in text(app))


async def test_an_empty_home_says_what_to_do(tmp_path, dashboard, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "model-garden train-vision" in text(app))
        await pilot.press("j", "enter", "s", "slash")  # nothing to do it to


async def test_q_leaves_and_knows_what_goes_on(home, dashboard, until) -> None:
    app = dashboard(home)
    async with app.run_test() as pilot:
        await _ready(app, pilot, until)
        await pilot.press("q")
    assert app.running_titles == ["invoices-v2"]


async def test_any_size(home, dashboard, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=(60, 20)) as pilot:
        await _ready(app, pilot, until)
        for width, height in ((250, 80), (80, 24), (20, 6), (120, 40)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
        await pilot.press("j", "enter")
        for width, height in ((250, 80), (60, 20), (20, 6), (80, 24)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()


async def test_a_home_that_cannot_be_read_is_said(tmp_path, dashboard, text, until, monkeypatch) -> None:
    def broken(self):
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr("mg_tui.runs.store.RunStore.refresh", broken)
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "the disk is gone" in text(app))


async def test_runs_that_a_restart_interrupted_are_offered(tmp_path, dashboard, size, text, until) -> None:
    folder = RunFolder.create(tmp_path, TrainingSpec(base_model="tiny", dataset="/d", name="overnight"))
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, attempt=1, lifetime={"boot": "another", "container": "another"})
        journal.write("step", step=3, loss=1.0)
        journal.write("checkpoint", step=3, path="checkpoints/step-000003", bytes=1)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await _ready(app, pilot, until)
        await until(pilot, lambda: "↺ interrupted" in text(app))
        assert any("1 run was interrupted by a restart" in notice.message for notice in app._notifications)
        await pilot.press("enter")
        await until(pilot, lambda: "interrupted at step 3" in text(app) and "was restarted" in text(app))

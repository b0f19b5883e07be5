"""Keys that arrive together: each goes to what the one before it has opened, and none runs as a command by mistake."""

import json

import pytest
from textual.command import CommandList
from textual.widgets import Input

from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.dataset import DatasetScreen
from mg_tui.tui.screens.jump import JumpScreen
from mg_tui.tui.screens.palette import GardenPalette
from mg_tui.tui.screens.plain_text import PlainTextScreen
from mg_tui.tui.widgets.datasets.row_table import RowTable
from mg_tui.tui.widgets.runs.run_table import RunTable
from tests.tui.fuzzing import burst
from tests.tui.synthetic_runs import synthetic_home

pytestmark = pytest.mark.asyncio


@pytest.fixture
def own_home(tmp_path):
    with synthetic_home(tmp_path / "home") as created:
        yield created


async def _listed(app, pilot, until) -> None:
    await until(pilot, lambda: app.screen.query(RunTable) and app.screen.query_one(RunTable).rows)


async def test_letters_after_the_filter_key_reach_the_filter(own_home, dashboard, size, until) -> None:
    app = dashboard(own_home)
    removed: list[object] = []
    runs = sorted(path.name for path in (own_home / "runs").iterdir())
    async with app.run_test(size=size) as pilot:
        await _listed(app, pilot, until)
        app.run_commands.remove = removed.append
        burst(app, "/xylophone")
        await until(pilot, lambda: app.screen.query("#filter"))
        await until(pilot, lambda: app.screen.query_one("#filter", Input).value == "xylophone")
        assert not removed and not isinstance(app.screen, ConfirmScreen)
    assert sorted(path.name for path in (own_home / "runs").iterdir()) == runs


async def test_letters_after_the_find_and_jump_keys_of_a_dataset(own_home, dashboard, size, until, tmp_path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"question": f"what {n}", "answer": "x"}) + "\n" for n in range(30)))
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        await _listed(app, pilot, until)
        app.push_screen(DatasetScreen(str(file)))
        await until(pilot, lambda: app.screen.query(RowTable) and app.screen.query_one(RowTable).rows)
        burst(app, ":17")
        await until(pilot, lambda: isinstance(app.screen, JumpScreen) and app.focused is not None)
        await until(pilot, lambda: app.focused.value == "17")
        burst(app, ["escape", *"/qxob1"])
        await until(pilot, lambda: isinstance(app.focused, Input) and app.focused.value == "qxob1")


async def test_letters_after_the_filter_key_of_models(own_home, dashboard, size, until) -> None:
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        await _listed(app, pilot, until)
        await pilot.press("4")
        await until(pilot, lambda: app.screen.focused is not None)
        burst(app, "/qxob1")
        await until(pilot, lambda: isinstance(app.focused, Input) and app.focused.value == "qxob1")
        assert app.is_running


async def test_a_place_and_its_filter_in_one_burst(own_home, dashboard, size, until) -> None:
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        await _listed(app, pilot, until)
        burst(app, "4/q2")
        await until(pilot, lambda: app.current_mode == "models" and isinstance(app.focused, Input))
        await until(pilot, lambda: app.focused.value == "q2")


async def test_a_question_ignores_keys_sent_before_it_was_drawn(own_home, dashboard, size, until) -> None:
    app = dashboard(own_home)
    runs = sorted(path.name for path in (own_home / "runs").iterdir())
    async with app.run_test(size=size) as pilot:
        await _listed(app, pilot, until)
        app.screen.query_one(RunTable).move(len(runs) - 1)
        burst(app, "xy")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.pause(0.2)
        assert isinstance(app.screen, ConfirmScreen)  # y was typed before anybody could read the question
        await pilot.press("y")
        await until(pilot, lambda: not isinstance(app.screen, ConfirmScreen))
        await until(pilot, lambda: len([p for p in (own_home / "runs").iterdir() if p.name in runs]) == len(runs) - 1)


@pytest.mark.parametrize("keys", ["qd", "q2", "q4w"])
async def test_keys_after_quit_open_nothing(own_home, dashboard, size, until, keys) -> None:
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        await _listed(app, pilot, until)
        burst(app, keys)
        await until(pilot, lambda: not app.is_running or app._exit)
        assert app.current_mode == "runs" and len(app.screen_stack) <= 1
    assert app.return_code == 0


async def test_a_place_then_a_text_over_it(own_home, dashboard, size, until) -> None:
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        await _listed(app, pilot, until)
        burst(app, "w")
        await until(pilot, lambda: isinstance(app.screen, PlainTextScreen))
        burst(app, ["escape", "w", "escape", "w", "q", "q"])
        await until(pilot, lambda: app._exit)


async def test_two_enters_dismiss_a_dialog_once(own_home, dashboard, size, until) -> None:
    app = dashboard(own_home)
    numbers: list[int | None] = []
    async with app.run_test(size=size) as pilot:
        await _listed(app, pilot, until)
        app.push_screen(JumpScreen(20), numbers.append)
        await until(pilot, lambda: isinstance(app.screen, JumpScreen))
        screen = app.screen
        screen.query_one(Input).value = "7"
        screen.dismiss(7)
        screen.dismiss(7)
        await until(pilot, lambda: not isinstance(app.screen, JumpScreen))
        await pilot.pause(0.1)
        assert app.is_running and numbers == [7]


async def test_a_removed_run_is_brought_back(own_home, dashboard, size, until) -> None:
    app, runs = dashboard(own_home), own_home / "runs"
    names = sorted(path.name for path in runs.iterdir())
    async with app.run_test(size=size) as pilot:
        await _listed(app, pilot, until)
        app.screen.query_one(RunTable).move(len(names) - 1)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: len(list(runs.iterdir())) == len(names) - 1)
        await pilot.press("u")
        await until(pilot, lambda: sorted(path.name for path in runs.iterdir()) == names)
        await until(pilot, lambda: len(app.screen.query_one(RunTable).rows) == len(names))
        await pilot.press("u")
        await until(pilot, lambda: "nothing to restore" in app.message_log[-1].text)


async def _open_palette(app, pilot, until) -> GardenPalette:
    await pilot.press("ctrl+p")
    await until(pilot, lambda: isinstance(app.screen, GardenPalette) and app.screen.query_one(CommandList).option_count)
    return app.screen


@pytest.mark.parametrize("key", ["page_up", "page_down"])
async def test_the_palette_pages_through_commands_that_just_changed(home, dashboard, until, key) -> None:
    app = dashboard(home)
    async with app.run_test(size=(60, 20)) as pilot:
        palette = await _open_palette(app, pilot, until)
        commands = palette.query_one(CommandList)
        commands.highlighted = count = commands.option_count - 1
        commands.styles.width = 0
        await pilot.pause()
        commands._clear_caches()  # as a resize and a change of styles do
        palette._action_command_list(key)  # a KeyError once
        await pilot.pause()
        assert commands.option_count == count + 1


async def test_the_palette_closes_once(home, dashboard, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=(60, 20)) as pilot:
        palette = await _open_palette(app, pilot, until)
        palette._action_escape()
        palette._action_escape()  # an InvalidStateError or a ScreenStackError once
        await pilot.pause()
        assert app.screen is not palette and len(app.screen_stack) == 1

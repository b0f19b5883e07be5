"""Toasts cover neither the help of a field nor the answers of a question nor the line of keys, at any size."""

import pytest
from textual.widgets import Button
from textual.widgets._toast import Toast

from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.jump import JumpScreen
from mg_tui.tui.screens.new_form import NewRunForm
from mg_tui.tui.screens.plain_text import PlainTextScreen
from mg_tui.tui.widgets.bars import KeyBar
from mg_tui.tui.widgets.form.field_help import FieldHelpPane
from mg_tui.tui.widgets.form.table import FormTable

pytestmark = pytest.mark.asyncio
SIZES = [(60, 20), (80, 24), (120, 40)]
LONG = (
    "The run cannot start.\nwhere: /a/long/path/of/a/dataset/train.jsonl\nwhy: the disk is full\ntry: free some space"
)


async def _notify(app, pilot, until) -> list:
    """Three long toasts; those that are visible."""
    for number in range(3):
        app.notify(f"{number}: {LONG}", severity="error", title="Start", timeout=60)
    await until(pilot, lambda: len(app.screen.query(Toast)) == 3)
    await pilot.pause(0.1)
    regions = [app.screen.find_widget(toast).visible_region for toast in app.screen.query(Toast)]
    assert any(regions), "none is seen at all"
    return [region for region in regions if region]


@pytest.mark.parametrize("size", SIZES)
async def test_over_a_form(tmp_path, dashboard, until, size) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size, notifications=True) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, NewRunForm) and app.screen.query(FormTable))
        await pilot.pause(0.2)
        regions = await _notify(app, pilot, until)
        for widget in (app.screen.query_one(FieldHelpPane), app.screen.query_one(KeyBar)):
            assert widget.region, widget
            assert not any(region.overlaps(widget.region) for region in regions), (widget, widget.region, regions)


@pytest.mark.parametrize("size", SIZES)
async def test_over_a_question(tmp_path, dashboard, until, size) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size, notifications=True) as pilot:
        detail = (
            "Journal, log, checkpoints and the result in its folder move to the trash for 14 days; u restores them."
        )
        await app.push_screen(ConfirmScreen("Remove receipts-lora-r32?", detail, "Remove"))
        regions = await _notify(app, pilot, until)
        for button in app.screen.query(Button):
            assert not any(region.overlaps(button.region) for region in regions), (button.region, regions)


async def test_a_screen_below_another_is_not_dismissed(tmp_path, dashboard, until) -> None:
    """It set the future of its result, closed the screen above, and ended in an InvalidStateError the second time."""
    app, numbers = dashboard(tmp_path), list[int | None]()
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(JumpScreen(20), numbers.append)
        await until(pilot, lambda: isinstance(app.screen, JumpScreen))
        below = app.screen
        app.push_screen(PlainTextScreen("Path", "/somewhere", ""))
        await until(pilot, lambda: isinstance(app.screen, PlainTextScreen))
        below.dismiss(7)
        below.dismiss(7)
        await pilot.pause(0.1)
        assert isinstance(app.screen, PlainTextScreen) and numbers == []
        app.screen.dismiss(None)
        await until(pilot, lambda: numbers == [7] and app.screen is not below)
        below.dismiss(9)
        await pilot.pause(0.1)
        assert numbers == [7] and len(app.screen_stack) == 1 and app.is_running


async def test_the_settings_close_once(tmp_path, dashboard, until) -> None:
    """Two dismissals before the first is done: an InvalidStateError or a ScreenStackError once."""
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f2")
        await until(pilot, lambda: type(app.screen).__name__ == "SettingsScreen")
        settings = app.screen
        settings.dismiss(None)
        settings.dismiss(None)
        await until(pilot, lambda: app.screen is not settings)
        await pilot.pause(0.1)
        assert len(app.screen_stack) == 1 and app.is_running

"""`/` in the help finds keys by what they do, or by the key."""

import pytest
from textual.widgets import Input

from mg_tui.tui.screens.help import HelpScreen

pytestmark = pytest.mark.asyncio


async def test_keys_are_found_by_words_and_by_key(tmp_path, dashboard, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await pilot.press("question_mark", "slash", *"trash")
        await until(pilot, lambda: "Move the run, or the marked ones" in text(app) and "Open the run" not in text(app))
        await pilot.press("ctrl+u", *"ctrl+p")
        await until(pilot, lambda: "Command palette" in text(app) and "Remove the run" not in text(app))
        await pilot.press("ctrl+u", *"!")
        await until(pilot, lambda: "Messages" in text(app) and "Command palette" not in text(app))
        await pilot.press("ctrl+u", *"no such thing")
        await until(pilot, lambda: "No key does that; esc shows all" in text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "Open the run" in text(app) and not app.screen.query(Input))
        assert isinstance(app.screen, HelpScreen)
        await pilot.press("escape")
        assert not isinstance(app.screen, HelpScreen)


async def test_letters_that_close_the_help_are_typed_into_the_field(tmp_path, dashboard, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test() as pilot:
        await pilot.press("question_mark", "slash", *"queue?")
        assert isinstance(app.screen, HelpScreen) and app.screen.query_one(Input).value == "queue?"
        await pilot.press("backspace", "enter", "j", "q")  # the text has the focus again
        await until(pilot, lambda: not app.screen.query(Input))

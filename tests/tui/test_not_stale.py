"""Small things that the dashboard got wrong once."""

import pytest
from textual.widgets import Input

from mg_tui.data.checks.findings import LengthSuggestion
from mg_tui.tui.screens.new import NewRunScreen
from mg_tui.tui.widgets.datasets.findings import suggestion_text
from tests.tui.fuzzing import burst

pytestmark = pytest.mark.asyncio


async def _form(app, pilot, until) -> NewRunScreen:
    await pilot.press("3")
    await until(pilot, lambda: isinstance(app.screen, NewRunScreen) and app.screen.draft is not None)
    return app.screen


@pytest.mark.parametrize("width", [60, 66, 74, 76, 80])
async def test_a_narrow_form_shows_values(tmp_path, dashboard, text, until, width) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=(width, 24)) as pilot:
        await _form(app, pilot, until)
        await until(pilot, lambda: "Value" in text(app))


async def test_finding_an_option_goes_to_the_best_match(tmp_path, dashboard, size, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _form(app, pilot, until)
        screen.table.move(len(screen.table.rows) - 1)
        burst(app, "/rate")
        await until(pilot, lambda: isinstance(app.focused, Input) and app.focused.value == "rate")
        await until(pilot, lambda: screen.filter_text == "rate" and len(screen.table.rows) > 1)
        assert screen.table.cursor == 0


async def test_a_remedy_that_skips_rows_does_not_claim_to_fix_any() -> None:
    skip = suggestion_text(LengthSuggestion("skip 1 row", "--on-bad-row skip", 0))
    assert skip == "skip 1 row: trains on the rest (--on-bad-row skip)"
    assert "fixes 2 rows" in suggestion_text(LengthSuggestion("raise the limit to 90", "--max-seq-length 90", 2))

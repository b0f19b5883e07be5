"""Every size: from too small, which is said, to very large; and without colour."""

import pytest

from mg_tui.runs.store import find_run
from mg_tui.tui.screens.base import MIN_SIZE

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("size", [(59, 30), (100, 19), (20, 6)])
async def test_what_is_too_small_is_said(home, dashboard, text, until, size) -> None:
    app = dashboard(home)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.run_rows)
        await pilot.resize_terminal(*size)
        await until(pilot, lambda: "This terminal" in text(app))
        assert "State" not in text(app) and "Model Garden" not in text(app)
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "invoices-v2" in text(app) and "This terminal" not in text(app))


@pytest.mark.parametrize("size", [MIN_SIZE, (80, 23), (250, 80)])
async def test_every_screen_of_runs_draws_at_any_other_size(home, dashboard, text, until, size) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "invoices-v2" in text(app))
        app.open_run(find_run(home, "receipts-lora-r32"))
        await until(pilot, lambda: "Loss" in text(app))
        await pilot.press("a", "i")
        await until(pilot, lambda: "1 of 2" in text(app))
        await pilot.press("escape", "escape")
        app.open_compare([find_run(home, name) for name in ("receipts-lora-r32", "handwriting")])
        await until(pilot, lambda: "● receipts" in text(app) and "■ handwriting" in text(app))
        await pilot.press("escape", "d")
        await until(pilot, lambda: "RAM" in text(app))

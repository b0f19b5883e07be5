"""The reason of a crash or a failure is on the screen at every size."""

import json

import pytest

from mg_tui.runs.store import find_run
from mg_tui.tui.screens.run import RunScreen

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("size", [(60, 20), (74, 22), (80, 24), (120, 40)])
async def test_the_reason_of_a_crash_comes_first(home, dashboard, text, until, size) -> None:
    folder = find_run(home, "street-signs")
    record = {"step": 234, "rows": list(range(100, 116)), "images": [f"images/street-{n:05}.jpg" for n in range(9)]}
    (folder.path / "step.json").write_text(json.dumps(record))
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        app.push_screen(RunScreen(folder))
        await until(pilot, lambda: "crashed" in text(app) and "killed, out of memory" in " ".join(text(app).split()))
        shown = text(app)
        assert "rows" not in shown or shown.index("killed") < shown.index("rows ")

"""Every training process on the screen of a run."""

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.widgets.run.ranks import RankStrip
from tests.runs.test_ranks import ranks_event

pytestmark = pytest.mark.asyncio


async def test_each_process_has_a_line(tmp_path, dashboard, text, until) -> None:
    folder = RunFolder.create(tmp_path, TrainingSpec(base_model="tiny", dataset="d"), versions={})
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=11, host="h", attempt=1)
        app = dashboard(tmp_path)
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause()
            app.open_run(folder)
            await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.detail is not None)
            assert not app.screen.query_one(RankStrip).display, "one process has no list"
            journal.write("ranks", ranks=ranks_event(step=6, doing="computing", silent=9.0))
            await until(pilot, lambda: "step 6 (1 behind)" in text(app))
            for part in ("0 step 7", "waiting for the others", "computing", "silent for 9 s", "3.0 GiB"):
                assert part in text(app), part

"""The dashboard on a server's runs: live, honest about the connection, and clear about what does not work."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.config import Settings
from mg_tui.remote.garden import RemoteGarden
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.state import RunState
from mg_tui.runs.store import list_runs
from mg_tui.tui.app import GardenApp
from mg_tui.tui.runs.snapshot import RunRow
from mg_tui.tui.screens.run import RunScreen
from tests.api.conftest import Server, free_port, start_server
from tests.tui.conftest import in_tmux, text, until
from tests.tui.synthetic_runs import synthetic_home

__all__ = ["in_tmux", "text", "until"]
_PATIENCE = 60.0


@pytest.fixture
def remote(laptop) -> Iterator[Callable[[str], GardenApp]]:
    """Dashboards on the runs of a server."""
    gardens = []

    def open_dashboard(url: str) -> GardenApp:
        garden = RemoteGarden.open(url, laptop / "cache")
        gardens.append(garden)
        app = GardenApp(Settings(home=garden.home, cache=laptop / "cache"))
        app.update_period = 0.05
        app.runs_feed.set_period(app.update_period)
        return app

    yield open_dashboard
    for garden in gardens:
        garden.close()


def row_of(app: GardenApp, title: str) -> RunRow:
    return next(row for row in app.run_rows or () if row.title == title)


def original(box: Server, name: str) -> Any:
    return next(run.folder for run in list_runs(box.home) if run.view.name == name)


@pytest.mark.asyncio
async def test_a_run_is_seen_live_and_asked_to_stop(box, remote, until, text) -> None:
    app, folder = remote(box.url), original(box, "invoices-v2")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(app.run_rows or ()) == 6, _PATIENCE)
        assert {row.id for row in app.run_rows} == {run.id for run in list_runs(box.home)}
        row = row_of(app, "invoices-v2")
        assert row.state is RunState.RUNNING and row.step == 310 and not row.silence
        assert row_of(app, "street-signs").state is RunState.CRASHED
        assert f"{box.url} · connected" in text(app)
        await until(pilot, lambda: "RAM" in text(app), _PATIENCE)  # the devices of the server

        app.open_run(row.folder)
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.detail is not None, _PATIENCE)
        with JournalWriter(folder.journal_file) as journal:
            journal.write("step", step=311, loss=0.1234, learning_rate=1e-5)
        with folder.log_file.open("a") as log:
            log.write("a line that was written there just now\n")
        await until(pilot, lambda: app.screen.detail.row.step == 311, _PATIENCE)
        assert app.screen.detail.row.loss == 0.1234
        await until(pilot, lambda: "written there just now" in text(app), _PATIENCE)
        await until(pilot, lambda: row_of(app, "invoices-v2").step == 311, _PATIENCE)

        await pilot.press("s")
        await until(pilot, lambda: type(app.screen).__name__ == "ConfirmScreen")
        await pilot.press("y")
        await until(pilot, lambda: any("-stop-" in path.name for path in folder.control_dir.iterdir()), _PATIENCE)
        await until(pilot, lambda: any("stopping after this step" in m.text for m in app.message_log), _PATIENCE)


@pytest.mark.asyncio
async def test_a_run_that_ends_there_ends_here_and_is_never_shown_as_crashed(box, remote, until) -> None:
    app, folder = remote(box.url), original(box, "floor-plans")
    seen: set[RunState] = set()
    async with app.run_test(size=(100, 30)) as pilot:

        def state() -> RunState:
            seen.add(row_of(app, "floor-plans").state)
            return row_of(app, "floor-plans").state

        await until(pilot, lambda: len(app.run_rows or ()) == 6, _PATIENCE)
        assert state() is RunState.CREATED
        from mg_tui.runs.lock import RunLock

        with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
            journal.write("started", pid=1, host="box", attempt=1, resumed_from=None, versions={})
            journal.write("plan", steps=2, examples=4)
            await until(pilot, lambda: state() is RunState.RUNNING, _PATIENCE)
            journal.write("step", step=1, loss=1.0)
            journal.write("finished", steps=2, result="/box/models/x")
        await until(pilot, lambda: state() is RunState.FINISHED, _PATIENCE)
    assert seen <= {RunState.CREATED, RunState.RUNNING, RunState.FINISHED}


@pytest.mark.asyncio
async def test_what_needs_the_machine_says_so_in_a_sentence(box, remote, until, text) -> None:
    app = remote(box.url)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(app.run_rows or ()) == 6, _PATIENCE)
        assert "Datasets" not in text(app).splitlines()[0] and "again" not in text(app).splitlines()[-1]
        for number, (keys, words) in enumerate(
            [("3", "checks models and data of this machine"), ("4", "these files are on the server"), ("R", "the form")]
        ):
            await pilot.press(keys)
            await until(pilot, lambda number=number: len(app.message_log) == number + 1)
            assert words in app.message_log[-1].text and app.message_log[-1].text.startswith("Not with --server: ")
            assert app.current_mode == "runs"
        await pilot.press("question_mark")
        await until(pilot, lambda: "Not with --server:" in text(app))
        await pilot.press("escape")
        app.open_run(row_of(app, "receipts-lora-r32").folder)
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.detail is not None, _PATIENCE)
        before = len(app.message_log)
        await pilot.press("E")
        await until(pilot, lambda: len(app.message_log) == before + 1)
        assert isinstance(app.screen, RunScreen)
        await pilot.press("c")  # no checkpoint can be saved of a run that has ended: not available, here as there
        await pilot.pause(0.2)
        assert len(app.message_log) == before + 1
        await pilot.press("w")
        await until(pilot, lambda: str(box.home / "runs") in text(app))  # the path there


@pytest.mark.asyncio
async def test_a_lost_connection_is_said_and_found_again(laptop, remote, until, text) -> None:
    work, port = laptop / "work", free_port()
    work.mkdir()
    with synthetic_home(laptop / "box-home"):
        server = start_server(laptop / "box-home", work, port=port)
        app = remote(server.url)
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: len(app.run_rows or ()) == 6, _PATIENCE)
            server.kill()
            await until(pilot, lambda: "not connected since" in text(app), _PATIENCE)
            assert "last seen" in text(app) and server.url in text(app)
            await until(pilot, lambda: "not responding for" in row_of(app, "invoices-v2").silence, _PATIENCE)
            assert str(row_of(app, "invoices-v2").problem).count("not connected to") == 1
            assert row_of(app, "invoices-v2").state is RunState.RUNNING  # nobody knows better
            assert row_of(app, "chart-questions").silence == ""
            await pilot.press("j", "s")
            if type(app.screen).__name__ == "ConfirmScreen":
                await pilot.press("y")
                await until(pilot, lambda: any(m.severity == "error" for m in app.message_log), _PATIENCE)
            server = start_server(laptop / "box-home", work, port=port)
            try:
                await until(pilot, lambda: f"{server.url} · connected" in text(app), _PATIENCE)
                await until(pilot, lambda: row_of(app, "invoices-v2").silence == "", _PATIENCE)
            finally:
                server.end()


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_in_a_terminal(box, tmp_path: Path, in_tmux, size) -> None:
    folder = original(box, "invoices-v2")
    session = in_tmux(tmp_path, *size, f"--server {box.url}")
    session.wait_for(r"invoices-v2 .*\d+/500", 60)
    shown = session.wait_for(r"⇄ http://127\.0\.0\.1:\d+ · connected", 60)
    assert "1 Runs" in shown and "2 Datasets" not in shown
    session.send_keys("3")
    session.wait_for("Not with --server", 60)
    session.send_keys("j", "Enter")
    session.wait_for(r"step \d+/500", 60)
    with JournalWriter(folder.journal_file) as journal:
        journal.write("step", step=312 + size[0], loss=0.0777, learning_rate=1e-5)
    session.wait_for(rf"step {312 + size[0]}/500", 60)
    session.send_keys("q")
    left = session.wait_for("left with 0", 60)
    assert f"model-garden --server {box.url}" in left.replace("\n", "")
    assert not (tmp_path / "home").exists()

"""Servers in the dashboard: started from the list of models, listed with what they do, and stopped with one key."""

import json
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.serve_spec import ServeSpec
from mg_tui.runs.control import ControlInbox
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.servers import ServerFolder
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.models import ModelsScreen
from mg_tui.tui.screens.servers import ServersScreen
from mg_tui.tui.widgets.error_band import ErrorBand
from tests.tui.synthetic_places import make_result

pytestmark = pytest.mark.asyncio

STATUS = {
    "url": "http://127.0.0.1:8080/v1",
    "models": ["receipts"],
    "requests": 1234,
    "requests_per_second": 5.25,
    "latency_seconds": 0.41,
    "first_token_seconds": 0.08,
    "proof": {"receipts": {"outcome": "alike", "rows": 4, "alike": 4}},
}


def make_server(home: Path) -> tuple[ServerFolder, RunLock, JournalWriter]:
    """A server that seems to run: its lock is held by the test."""
    folder = ServerFolder.create(home, ServeSpec.parse({"models": ["receipts"]}), cwd=home)
    lock, journal = RunLock(folder.lock_file).acquire(), JournalWriter(folder.journal_file)
    journal.write("started", pid=1, host="here", attempt=1, resumed_from=None)
    journal.write("phase", name="serving", detail=None)
    folder.status_file.write_text(json.dumps(STATUS))
    return folder, lock, journal


async def test_a_server_is_listed_with_what_it_does_and_stopped_with_one_key(
    tmp_path: Path, dashboard: Any, size: Any, text: Any, until: Any
):
    folder, lock, journal = make_server(tmp_path)
    app = dashboard(tmp_path)
    try:
        async with app.run_test(size=size) as pilot:
            await pilot.press("4")
            await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
            await pilot.press("V")
            await until(pilot, lambda: isinstance(app.screen, ServersScreen) and app.screen.rows)
            await until(pilot, lambda: "4 of 4 answers as trained" in text(app))
            shown = text(app)
            for part in ("receipts", "http://127.0.0.1:8080/v1", "5.2", "1 running server"):
                assert part in shown
            await pilot.press("x")
            await until(pilot, lambda: bool(list(folder.control_dir.iterdir())))
            [request] = ControlInbox(folder).take()
            assert request.request == "stop" and "dashboard" in request.by
            journal.write("stopped", requests=1234, by=request.by)
            lock.release()
            await until(pilot, lambda: not app.screen.rows[0].running)
            assert "stopped" in text(app)
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
    finally:
        lock.release()
        journal.close()


async def test_a_model_is_served_after_a_question_and_an_error_is_shown(
    tmp_path: Path, dashboard: Any, size: Any, text: Any, until: Any, monkeypatch: pytest.MonkeyPatch
):
    make_result(tmp_path, "receipts", eval_loss=0.4, exact_match=0.8)
    asked: list[ServeSpec] = []

    def launch(spec: ServeSpec, settings: Any, *, cwd: Path) -> None:
        asked.append(spec)
        raise EnvironmentProblem("no room for the server", why="a test says so")

    monkeypatch.setattr("mg_tui.preflight.serving.launch_server", launch)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and app.screen.rows and app.screen.selected)
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        assert "Serve receipts?" in text(app)
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, ServersScreen))
        await until(pilot, lambda: app.screen.query_one(ErrorBand).error is not None)
        assert "no room for the server" in text(app) and "No server runs" in text(app)
    assert asked[0].models[0].endswith("receipts") and asked[0].port >= 8080

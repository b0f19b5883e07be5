"""The screens of evaluations as they look, as text: empty, running, finished and damaged, at both sizes.

`MODEL_GARDEN_SNAPSHOTS=write pytest tests/tui/test_snapshots_evaluations.py` writes `snapshots/*.txt` anew; read the
difference before you keep it.
"""

import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.lock import RunLock
from mg_tui.tui.evaluations.listing import EvaluationSubject
from mg_tui.tui.places import PLACES
from mg_tui.tui.screens.evaluation import ResultScreen
from mg_tui.tui.screens.evaluation_form import EvaluationForm
from mg_tui.tui.screens.evaluations import EvaluationListScreen
from mg_tui.tui.screens.hard_rows import HardRowsScreen
from mg_tui.tui.widgets.form.table import FormTable
from tests.tui.synthetic_evaluations import NOW, SyntheticEvaluation, evaluate, make_rows

pytestmark = pytest.mark.asyncio

SNAPSHOTS = Path(__file__).with_name("snapshots")
_ID = re.compile(r"\b(\d{8}-\d{6})-[a-z0-9]{4}\b")
SUBJECT = EvaluationSubject(
    "receipts", "20251124-120000-abcd-receipts", frozenset({"20251124-120000-abcd-receipts"}), checkpoints=True
)


@pytest.fixture
def folder(monkeypatch):
    """A working folder whose path is always as long; a clock that stands; no other places than this one."""
    path = Path(tempfile.mkdtemp(prefix="mg-", dir="/tmp"))
    monkeypatch.chdir(path)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.setattr("mg_tui.tui.widgets.bars.PLACES", PLACES[:1])
    monkeypatch.setattr("mg_tui.tui.widgets.evaluations.list_table.time", lambda: NOW)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def look(folder, size, text):
    """Compare the screen with the one that is kept."""

    def compare(app, name: str) -> None:
        screen_text = _ID.sub(r"\1-0000", text(app).replace(str(folder), "/tmp/mg-________"))
        screen_text = screen_text.replace(folder.name, "mg-________")
        screen_text = "\n".join(line.rstrip() for line in screen_text.splitlines()) + "\n"
        file = SNAPSHOTS / f"{name}-{size[0]}x{size[1]}.txt"
        if os.environ.get("MODEL_GARDEN_SNAPSHOTS") == "write":
            file.write_text(screen_text, encoding="utf-8")
        assert screen_text == file.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def dataset(folder) -> Path:
    return make_rows(folder / "papers.jsonl", 60)


async def _open(app, pilot, until, folder: EvaluationFolder) -> ResultScreen:
    await until(pilot, lambda: app.run_rows is not None)
    app.push_screen(ResultScreen(folder))
    await until(pilot, lambda: isinstance(app.screen, ResultScreen) and app.screen.detail is not None)
    screen = app.screen
    await until(pilot, lambda: not screen.detail.reading and len(screen.table.rows) == screen.detail.count)
    await until(pilot, lambda: not screen.detail.count or screen.current is not None)
    return screen


async def _still(pilot, until, text, app) -> None:
    """Wait until images are drawn."""
    await until(pilot, lambda: "reading …" not in text(app) and "▀" in text(app))
    await pilot.pause(0.2)


async def test_the_list(folder, dataset, dashboard, size, text, until, look) -> None:
    home = folder / "home"
    run = "20251124-120000-abcd-receipts"
    for what in (
        SyntheticEvaluation(run, ago=90_000),
        SyntheticEvaluation(f"{run}@150", ago=7_000, compare=None, state="stopped", answered=25),
        SyntheticEvaluation("served", ago=700, compare=None, state="failed", answered=0),
    ):
        evaluate(home, dataset, what)
    running = evaluate(home, dataset, SyntheticEvaluation(run, ago=60, state="running", answered=24))
    app = dashboard(home)
    with RunLock(running.lock_file):
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.run_rows is not None)
            app.push_screen(EvaluationListScreen(SUBJECT, lambda: None))
            await until(pilot, lambda: "3 evaluations" in text(app))
            await pilot.press("a")
            await until(pilot, lambda: "4 evaluations" in text(app))
            await pilot.press("g")
            await pilot.pause(0.1)
            look(app, "evaluations-list")


async def test_no_evaluations(folder, dashboard, size, text, until, look) -> None:
    app = dashboard(folder / "home")
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.run_rows is not None)
        app.push_screen(EvaluationListScreen(SUBJECT, lambda: None))
        await until(pilot, lambda: "No evaluations yet" in text(app))
        look(app, "evaluations-empty")


async def test_the_form(folder, dataset, dashboard, size, text, until, look) -> None:
    app = dashboard(folder / "home")
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.run_rows is not None)
        app.push_screen(EvaluationForm(SUBJECT, {"dataset": "papers.jsonl", "compare": "base", "limit": "0"}))
        await until(pilot, lambda: isinstance(app.screen, EvaluationForm) and app.screen.draft)
        app.screen.query_one(FormTable).go_to_field("limit")
        await until(pilot, lambda: "1 wrong" in text(app) and "at least 1" in text(app))
        look(app, "evaluation-form")


async def test_rows_scores_and_groups(folder, dataset, dashboard, size, text, until, look) -> None:
    evaluation = evaluate(folder / "home", dataset, SyntheticEvaluation(errors=(4,)))
    app = dashboard(folder / "home")
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until, evaluation)
        await _still(pilot, until, text, app)
        look(app, "evaluation-rows")
        await pilot.press("f", "f", "f", "space")
        await until(pilot, lambda: screen.current is not None and "only broken" in text(app))
        await _still(pilot, until, text, app)
        look(app, "evaluation-broken")
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, HardRowsScreen) and "papers-hard" in text(app))
        look(app, "evaluation-write")
        await pilot.press("escape", "t")
        await until(pilot, lambda: "independent by image" in text(app))
        look(app, "evaluation-scores")
        await pilot.press("b")
        await until(pilot, lambda: "letter" in text(app))
        look(app, "evaluation-groups")


async def test_a_running_one_and_a_damaged_one(folder, dataset, dashboard, size, text, until, look) -> None:
    running = evaluate(folder / "home", dataset, SyntheticEvaluation(answered=24, state="running"))
    damaged = evaluate(folder / "home", dataset, SyntheticEvaluation())
    rows = (damaged.results_dir / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (damaged.results_dir / "rows.jsonl").write_bytes(b"".join(rows[:20]) + b"{half a line")
    app = dashboard(folder / "home")
    with RunLock(running.lock_file):
        async with app.run_test(size=size) as pilot:
            await _open(app, pilot, until, running)
            await _still(pilot, until, text, app)
            look(app, "evaluation-running")
            await pilot.press("escape")
            screen = await _open(app, pilot, until, damaged)
            await until(pilot, lambda: "damaged" in text(app) and screen.current is not None)
            await _still(pilot, until, text, app)
            look(app, "evaluation-damaged")

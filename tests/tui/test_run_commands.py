"""What a person does to runs from the list: sorted, marked, compared, resumed, queued, removed, shown."""

import json
import zlib

import pytest

from mg_tui.core.errors import RunFailed
from mg_tui.runs import queue
from mg_tui.runs.state import RunState
from mg_tui.tui.runs.snapshot import RunRow
from mg_tui.tui.screens.compare import CompareScreen
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.devices import DevicesScreen
from mg_tui.tui.screens.messages import MessagesScreen
from mg_tui.tui.screens.plain_text import CLIPBOARD_NOTICE, PlainTextScreen
from mg_tui.tui.screens.replay import ReplayScreen
from mg_tui.tui.screens.runs import RunsScreen
from mg_tui.tui.widgets.runs.run_table import RunTable
from tests.tui.synthetic_runs import SYNTHETIC_RUNS, SyntheticRun, synthetic_home

pytestmark = pytest.mark.asyncio

QUEUED = (
    SyntheticRun("first", "queued", 0, 0, 100),
    SyntheticRun("second", "queued", 0, 0, 90),
    SyntheticRun("third", "queued", 0, 0, 80),
)


@pytest.fixture
def own_home(tmp_path):
    with synthetic_home(tmp_path / "home", (*SYNTHETIC_RUNS, *QUEUED)) as created:
        yield created


async def _on(app, pilot, until, name: str) -> RunTable:
    """The cursor on the run of that name."""
    await until(pilot, lambda: app.screen.query(RunTable) and app.screen.query_one(RunTable).rows)
    table = app.screen.query_one(RunTable)
    table.move([row.title for row in table.rows].index(name))
    await pilot.pause()
    return table


def _current(table: RunTable) -> RunRow:
    assert table.current is not None
    return table.current


def _titles(table: RunTable) -> list[str]:
    return [row.title for row in table.rows]


async def test_sorting(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        table = await _on(app, pilot, until, "handwriting")
        assert "Age▾" in text(app)
        await pilot.press("o")
        assert [row.state for row in table.rows][:2] == [RunState.RUNNING, RunState.CREATED]
        assert table.rows[-1].state is RunState.FINISHED and "State▴" in text(app) and "by state" in text(app)
        await pilot.press("o")
        assert _titles(table) == sorted(row.title for row in app.run_rows) and "Name▴" in text(app)
        await pilot.press("O")
        assert _titles(table) == sorted((row.title for row in app.run_rows), reverse=True) and "Name▾" in text(app)
        await pilot.press("o")
        *losses, last = [row.loss for row in table.rows]
        known = [loss for loss in losses if loss is not None]
        assert known == sorted(known) and len(known) == len(losses) and last is None  # the run without a loss is last
        assert _current(table).title == "handwriting"  # the cursor stayed with its run
        await pilot.press("O")
        assert table.rows[-1].loss is None
        await pilot.press("o")
        assert _titles(table) == [row.title for row in app.run_rows]


async def test_marked_runs_are_compared(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        table = await _on(app, pilot, until, "handwriting")
        await pilot.press("space")
        assert "● handwriting" in text(app) and "1 marked" in text(app)
        await pilot.press("c")  # one is not enough
        assert isinstance(app.screen, RunsScreen)
        await pilot.press("space", "c")
        assert isinstance(app.screen, CompareScreen)
        await until(pilot, lambda: "● chart-que" in text(app) and "■ handwriti" in text(app))
        screen_text = text(app)
        assert "✗ failed" in screen_text and "■ stopped" in screen_text and "310/800" in screen_text
        assert any("\u2800" < character <= "\u28ff" for character in screen_text)
        await pilot.press("z", "end" if size[1] < 30 else "z", "G")
        await until(pilot, lambda: "dataset" in text(app) and "Options that differ" in text(app))
        assert "lora_r" not in text(app)  # it is the same in both
        await pilot.press("a", "G")
        await until(pilot, lambda: app.screen.show_all_options)
        for title in ("Learning rate", "Gradient norm", "Memory", "Tokens/s", "Images/s", "Data wait", "Loss of eval"):
            await pilot.press("m")
            await until(pilot, lambda title=title: title in text(app))
        await pilot.press("escape")
        assert isinstance(app.screen, RunsScreen)
        await pilot.press("escape")
        await until(pilot, lambda: not table.marked and "marked" not in text(app))


async def test_resume_says_from_where_and_asks(own_home, dashboard, size, text, until, monkeypatch) -> None:
    started: list[str] = []

    def start_worker(folder, gpus=None, **_) -> int:
        started.append(folder.id)
        return 1

    monkeypatch.setattr("mg_tui.runs.launch.start_worker", start_worker)
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        table = await _on(app, pilot, until, "street-signs")
        folder = _current(table).folder
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        assert app.focused.id == "no"
        assert "from step 0 (no checkpoint)" in app.screen._detail
        await pilot.press("n")
        checkpoint = folder.path / "checkpoints" / "step-000200"
        (checkpoint / "adapter").write_text("1234")
        (checkpoint / "checkpoint.json").write_text(
            json.dumps({"files": {"adapter": {"bytes": 4, "crc32": zlib.crc32(b"1234")}}})
        )
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        assert "at step 200; 33 steps will be repeated" in app.screen._detail
        assert started == []
        await pilot.press("y")
        await until(pilot, lambda: started == [folder.id])
        await until(pilot, lambda: app.message_log and app.message_log[-1].text == "street-signs: resumed")


async def test_what_cannot_be_done_is_said(own_home, dashboard, text, until, monkeypatch) -> None:
    def refuse(folder, gpus=None, **_):
        raise RunFailed("It is alive.", where="[red]here[/]", hint="look \x1b[31mthere")

    monkeypatch.setattr("mg_tui.runs.launch.start_worker", refuse)
    app = dashboard(own_home)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await _on(app, pilot, until, "chart-questions")
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: "It is alive." in text(app) and "[red]here[/]" in text(app))
        assert "\x1b" not in text(app)
        await pilot.press("exclamation_mark")
        assert isinstance(app.screen, MessagesScreen)
        await until(pilot, lambda: "It is alive." in text(app) and "chart-questions" in text(app))
        assert "\x1b" not in text(app)
        await pilot.press("escape")
        assert isinstance(app.screen, RunsScreen)


async def test_running_runs_offer_nothing_that_is_for_ended_ones(home, dashboard, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=(80, 24)) as pilot:
        await _on(app, pilot, until, "invoices-v2")
        await pilot.press("r", "v", "x", "h", "K", "J")
        assert isinstance(app.screen, RunsScreen) and not app.message_log


async def test_the_queue_is_changed(own_home, dashboard, size, text, until) -> None:
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        table = await _on(app, pilot, until, "third")
        assert "number 3" in text(app)
        await pilot.press("K")
        await until(pilot, lambda: [entry.folder.id[-5:] for entry in queue.list_queue(own_home)][1] == "third")
        await until(pilot, lambda: _current(table).queue_position == (2, False))
        await pilot.press("J")
        await until(pilot, lambda: _current(table).queue_position == (3, False))
        await pilot.press("h")
        await until(pilot, lambda: _current(table).queue_position == (3, True) and "held" in text(app))
        assert queue.read_queue_record(_current(table).folder).held
        await pilot.press("h")
        await until(pilot, lambda: _current(table).queue_position == (3, False))
        await pilot.press("s")
        assert isinstance(app.screen, ConfirmScreen) and app.focused.id == "no"
        assert "from the queue" in text(app)
        await pilot.press("y")
        await until(pilot, lambda: _current(table).state is RunState.STOPPED)
        assert [entry.folder.id[-6:] for entry in queue.list_queue(own_home)] == ["-first", "second"]


async def test_a_running_run_is_not_removed(own_home, dashboard, size, text, until) -> None:
    app = dashboard(own_home)
    async with app.run_test(size=size, notifications=True) as pilot:
        table = await _on(app, pilot, until, "invoices-v2")
        running, finished = _current(table), next(row for row in table.rows if row.state is RunState.FINISHED)
        assert running.state is RunState.RUNNING
        await pilot.press("x")
        await pilot.pause(0.1)
        assert not isinstance(app.screen, ConfirmScreen)
        await pilot.press("space")
        await _on(app, pilot, until, finished.title)
        await pilot.press("space", "x")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        assert f"Remove {finished.title}?" in text(app), "of the two that are marked the one that may be"
        await pilot.press("y")
        await until(pilot, lambda: not finished.folder.path.exists())
        assert running.folder.spec_file.exists()


async def test_remove_asks_and_removes_the_marked(own_home, dashboard, size, text, until) -> None:
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        table = await _on(app, pilot, until, "chart-questions")
        removed = [row.folder for row in table.rows if row.title in ("chart-questions", "receipts-lora-r32")]
        await pilot.press("x")
        assert isinstance(app.screen, ConfirmScreen) and app.focused.id == "no"
        assert "Remove chart-questions?" in text(app)
        await pilot.press("enter")  # on no
        await pilot.pause(0.1)
        assert all(folder.path.exists() for folder in removed)
        await pilot.press("space", "space", "x")
        assert "Remove 2 runs?" in text(app)
        await pilot.press("y")
        await until(pilot, lambda: not any(folder.path.exists() for folder in removed))
        await until(pilot, lambda: len(table.rows) == 7 and not table.marked)


async def test_the_place_of_a_result_is_offered_and_never_claimed_copied(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await _on(app, pilot, until, "receipts-lora-r32")
        sent: list[str] = []
        app.copy_to_clipboard = sent.append
        await pilot.press("w")
        assert isinstance(app.screen, PlainTextScreen)
        await until(pilot, lambda: "/data/models/receipts" in text(app))
        await pilot.press("y")
        assert sent == ["/data/models/receipts"]
        assert app.message_log[-1].text == CLIPBOARD_NOTICE
        assert "copied" not in text(app).lower() and "copied" not in CLIPBOARD_NOTICE.lower()
        await pilot.press("escape")
        await _on(app, pilot, until, "handwriting")  # no result: its folder
        await pilot.press("w")
        await until(pilot, lambda: "handwriting" in text(app) and "/runs/" in text(app).replace("\n", ""))


async def test_run_again_opens_the_form(home, dashboard, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=(120, 40)) as pilot:
        await _on(app, pilot, until, "handwriting")
        await pilot.press("R")
        await until(pilot, lambda: app.current_mode == "new" and app.screen.draft is not None)
        await until(pilot, lambda: app.screen.draft.value("dataset") == "/data/handwriting/train.jsonl")
        assert app.screen.draft.value("lora_r") == 32 and app.screen.draft.value("output_dir") is None


async def test_replay_and_devices_open(home, dashboard, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=(80, 24)) as pilot:
        await _on(app, pilot, until, "receipts-lora-r32")
        await pilot.press("v")
        assert isinstance(app.screen, ReplayScreen)
        await pilot.press("escape", "d")
        assert isinstance(app.screen, DevicesScreen)
        await until(pilot, lambda: "RAM" in text(app))
        await pilot.press("escape")
        assert isinstance(app.screen, RunsScreen)


async def test_what_should_be_waiting_waits_again(own_home, dashboard, until, monkeypatch) -> None:
    restarted: list[str] = []

    def start_waiter(folder) -> int:
        restarted.append(folder.id[-5:])
        return 1

    monkeypatch.setattr("mg_tui.runs.launch.start_waiter", start_waiter)
    app = dashboard(own_home)
    async with app.run_test() as pilot:
        await pilot.pause(0.8)
        assert not restarted  # only where the command asked for it
        app.run_commands.start_waiting_runs(app.settings)
        await until(pilot, lambda: len(restarted) == 3 and app.message_log)
        assert "is queued again" in app.message_log[-1].text

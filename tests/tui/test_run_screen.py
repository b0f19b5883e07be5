"""The screen of one run, live and replayed, driven by keys."""

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.store import find_run
from mg_tui.runs.watch_request import CANCEL_FILE, LOCK_FILE, WatchRequest, write_watch_request
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.widgets.run.panes import LogPane, RunTabs
from tests.tui.synthetic_runs import HOSTILE

pytestmark = pytest.mark.asyncio


async def _open(app, pilot, folder, until) -> RunScreen:
    await pilot.pause()
    app.open_run(folder)
    await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.detail is not None)
    return app.screen


async def test_a_running_run(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await _open(app, pilot, find_run(home, "invoices-v2"), until)
        await until(pilot, lambda: "step  310" in text(app))
        screen_text = text(app)
        for part in ("▶ running", "invoices-v2", "62%", "310/500", "ETA", "Loss", "◆", "smoothed", "18.1 GiB", "3%"):
            assert part in screen_text, part
        assert any("\u2800" < character <= "\u28ff" for character in screen_text)


async def test_every_pane_and_curve(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, find_run(home, "street-signs"), until)
        for key, said in (
            ("n", "larger than the cap"),
            ("p", "checkpoints/step-000200"),
            ("o", "base_model"),
            ("a", "asked"),
            ("l", "step  233"),
        ):
            await pilot.press(key)
            await until(pilot, lambda said=said: said in text(app))
        for title in ("Learning rate", "Gradient norm", "Memory", "Tokens/s", "Images/s", "Data wait", "Loss"):
            await pilot.press("m")
            await until(pilot, lambda title=title: title in text(app))
        await pilot.press("M")
        await until(pilot, lambda: "Data wait" in text(app))
        await pilot.press("m", "y")
        assert screen.view.logarithmic
        await pilot.press("z")
        assert screen.has_class("-zoomed")
        await pilot.press("escape")
        assert not screen.has_class("-zoomed")
        await pilot.press("escape")
        assert app.screen is not screen


async def test_the_log_follows_until_it_is_held(home, dashboard, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _open(app, pilot, find_run(home, "invoices-v2"), until)
        log = screen.query_one(LogPane)
        await until(pilot, lambda: log.line_count > 300 and log.scroll_offset.y == log.max_scroll_y)
        await pilot.press("f", "g")
        await until(pilot, lambda: log.scroll_offset.y == 0)
        assert not screen.query_one(RunTabs).following
        await pilot.press("f")
        await until(pilot, lambda: log.scroll_offset.y == log.max_scroll_y)


async def test_images_stand_beside_the_answers(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await _open(app, pilot, find_run(home, "receipts-lora-r32"), until)
        await pilot.press("a", "z")
        await until(pilot, lambda: "▀▀▀▀▀▀▀▀" in text(app))
        assert "✓ answer" in text(app) and "Half past two." in text(app)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("handwriting", ["✗ failed", "The loss became NaN.", "why", "try", "--learning-rate 2e-4", "311, 14, 902"]),
        ("street-signs", ["↯ crashed", "without an error", "latest: step 200", "runs resume"]),
    ],
)
async def test_what_went_wrong_is_said(home, dashboard, size, text, until, name, said) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await _open(app, pilot, find_run(home, name), until)
        for part in said:
            await until(pilot, lambda part=part: part in text(app))
        await pilot.press("s", "c")  # it has ended: neither does anything
        assert not isinstance(app.screen, ConfirmScreen)


async def test_stop_and_checkpoint_are_asked_of_the_worker(home, dashboard, size, until) -> None:
    app = dashboard(home)
    folder = find_run(home, "invoices-v2")
    async with app.run_test(size=size) as pilot:
        await _open(app, pilot, folder, until)
        await pilot.press("c")
        await until(pilot, lambda: any("-checkpoint-" in file.name for file in folder.control_dir.iterdir()))
        await pilot.press("s")
        assert isinstance(app.screen, ConfirmScreen) and app.focused.id == "no"
        await pilot.press("n")
        assert not any("-stop-" in file.name for file in folder.control_dir.iterdir())
        await pilot.press("s", "y")
        await until(pilot, lambda: any("-stop-" in file.name for file in folder.control_dir.iterdir()))
    for file in folder.control_dir.iterdir():
        file.unlink()


async def test_the_machine_is_kept(tmp_path, dashboard, size, text, until) -> None:
    """`K` cancels what happens when the run is done; where nothing would happen, or nobody watches, that is said."""
    folder = RunFolder.create(tmp_path / "home", TrainingSpec(base_model="tiny", dataset="x.jsonl", name="mine"))
    app = dashboard(folder.home)
    async with app.run_test(size=size, notifications=True) as pilot:
        await _open(app, pilot, folder, until)
        await pilot.press("K")
        await until(pilot, lambda: "Nothing happens when" in text(app))
        write_watch_request(folder.path, WatchRequest(when_done="stop", grace=7200.0))
        await pilot.press("K")
        await until(pilot, lambda: "is not watched" in text(app))
        assert not (folder.path / CANCEL_FILE).exists()
        with RunLock(folder.path / LOCK_FILE):
            await pilot.press("K")
            await until(pilot, lambda: (folder.path / CANCEL_FILE).exists())
            await until(pilot, lambda: app.message_log[-1].text.startswith("mine: cancelled: the machine keeps"))


async def test_it_follows_a_run_from_its_start_to_its_end(tmp_path, dashboard, text, until) -> None:
    folder = RunFolder.create(
        tmp_path, TrainingSpec.parse({"base_model": "tiny", "dataset": "d.jsonl", "name": "live"})
    )
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await _open(app, pilot, folder, until)
        await until(pilot, lambda: "○ created" in text(app) and "No output from the worker yet" in text(app))
        with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
            journal.write("started", pid=1, host="h", attempt=1, resumed_from=None)
            journal.write("phase", name="loading model", detail="tiny")
            await until(pilot, lambda: "▶ running" in text(app) and "loading model" in text(app))
            journal.write("plan", steps=4, examples=8)
            journal.write("step", step=1, loss=2.0, learning_rate=1e-4, seconds=1.0)
            await until(pilot, lambda: "1/4" in text(app))
            journal.write("step", step=2, loss="nan", learning_rate=1e-4, seconds=1.0)
            await until(pilot, lambda: "NaN" in text(app))
            journal.write("request", request="stop", by="me")
            await until(pilot, lambda: "stopping after this step" in text(app))
            journal.write("stopped", step=2, checkpoint=None, by="me")
        await until(pilot, lambda: "■ stopped" in text(app))


async def test_text_from_outside_is_text(tmp_path, dashboard, size, text, until) -> None:
    spec = TrainingSpec.parse({"base_model": HOSTILE, "dataset": HOSTILE, "name": HOSTILE})
    folder = RunFolder.create(tmp_path, spec)
    folder.log_file.write_text(HOSTILE + "\n\x1b[2J\x1b[31m[red]colour[/red]\n")
    with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host=HOSTILE, attempt=1, resumed_from=None)
        journal.write("phase", name=HOSTILE, detail=HOSTILE)
        journal.write("warning", what=HOSTILE, where=HOSTILE, why=HOSTILE, hint=HOSTILE)
        journal.write("decision", what=HOSTILE, value=HOSTILE, why=HOSTILE)
        journal.write("checkpoint", step=1, path=HOSTILE, bytes=1, seconds=1)
        journal.write("sample", step=1, row=1, image=HOSTILE, prompt=HOSTILE, answer=HOSTILE, expected=HOSTILE)
        app = dashboard(tmp_path)
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: "[bold red]" in text(app))
            await pilot.press("s")
            await until(pilot, lambda: "Stop [bold red]no[/]" in text(app))
            await pilot.press("n", "slash", *"[bold]", "escape", "enter")
            await until(pilot, lambda: "[red]colour[/red]" in text(app))
            for key in "napol":
                await pilot.press(key)
                await until(pilot, lambda: "[bold red]no" in text(app) or "[red]colour" in text(app))
                _assert_harmless(text(app))
            journal.write("failed", error="X", what=HOSTILE, where=HOSTILE, why=HOSTILE, hint=HOSTILE, step=1)
            await until(pilot, lambda: "✗ failed" in text(app))
            _assert_harmless(text(app))


def _assert_harmless(shown: str) -> None:
    assert not any(ord(character) < 32 and character != "\n" for character in shown)
    assert not any("\x7f" <= character <= "\x9f" or "\u202a" <= character <= "\u202e" for character in shown)

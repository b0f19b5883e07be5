"""Keys of a run's screen: the chart, the log's filter, answers over the run, images, what is done to the run."""

import sys
import types

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.store import find_run
from mg_tui.tui.graphics import TerminalGraphics, select_graphics
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.devices import DevicesScreen
from mg_tui.tui.screens.image import ImageCells, ImageScreen
from mg_tui.tui.screens.plain_text import PlainTextScreen
from mg_tui.tui.screens.replay import ReplayScreen
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.widgets.run.panes import LogPane
from tests.tui.synthetic_runs import HOSTILE


async def _open(app, pilot, folder, until) -> RunScreen:
    await pilot.pause()
    app.open_run(folder)
    await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.detail is not None)
    return app.screen


@pytest.mark.asyncio
async def test_zoom_pan_and_smoothing(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, find_run(home, "receipts-lora-r32"), until)
        await until(pilot, lambda: "smoothed" in text(app))
        await pilot.press("plus", "equals_sign")
        await until(pilot, lambda: "steps 180 to 240" in text(app))
        await pilot.press("less_than_sign")
        await until(pilot, lambda: "steps 165 to 225" in text(app))
        await pilot.press("greater_than_sign", "minus")
        await until(pilot, lambda: "steps 120 to 240" in text(app))
        await pilot.press("0")
        await until(pilot, lambda: "steps " not in text(app).replace("tokens", ""))
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: "smoothed over 30" in text(app))
        await pilot.press(*["left_square_bracket"] * 6)
        await until(pilot, lambda: "smoothed" not in text(app))
        assert screen.view.smoothing_points(240) == 0


@pytest.mark.asyncio
async def test_memory_has_the_line_of_the_estimate(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await _open(app, pilot, find_run(home, "invoices-v2"), until)
        await pilot.press("m", "m", "m")
        await until(pilot, lambda: "Memory" in text(app) and "estimate 22.0 GiB" in text(app))


@pytest.mark.asyncio
async def test_the_log_is_filtered(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, find_run(home, "invoices-v2"), until)
        log = screen.query_one(LogPane)
        await until(pilot, lambda: log.line_count > 300)
        await pilot.press("n", "slash", *"TRAINABLE")
        await until(
            pilot, lambda: list(log.lines)[:1] == ["trainable parameters: 29,933,568 of 3,784,556,544 (0.79 %)"]
        )
        await pilot.press("enter")
        assert app.focused is log
        await pilot.press("slash", *" zzz")
        await until(pilot, lambda: "No line matches" in text(app))
        await pilot.press("escape")
        await until(pilot, lambda: log.line_count > 300 and not screen.query("#search"))
        assert app.screen is screen


@pytest.mark.asyncio
async def test_new_lines_pass_the_filter_too(tmp_path, dashboard, until) -> None:
    folder = RunFolder.create(tmp_path, TrainingSpec.parse({"base_model": "tiny", "dataset": "d.jsonl"}))
    folder.log_file.write_text("one\ntwo\n")
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _open(app, pilot, folder, until)
        log = screen.query_one(LogPane)
        await until(pilot, lambda: list(log.lines)[:2] == ["one", "two"])
        await pilot.press("slash", *"tw")
        with folder.log_file.open("a") as file:
            file.write("three\nTwelve\n")
        await until(pilot, lambda: list(log.lines)[:2] == ["two", "Twelve"])
        await pilot.press("escape")
        await until(pilot, lambda: list(log.lines)[:4] == ["one", "two", "three", "Twelve"])


@pytest.mark.asyncio
async def test_answers_are_followed_over_the_run(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await _open(app, pilot, find_run(home, "receipts-lora-r32"), until)
        await pilot.press("a", "z")
        await until(pilot, lambda: "step 200" in text(app) and "4 of 4" in text(app) and "✗✗✗✓" in text(app))
        assert "was" in text(app) and "The clock shows three." in text(app)  # what it had answered before
        await pilot.press("comma")
        await until(pilot, lambda: "step 150" in text(app) and "3 of 4" in text(app))
        assert "was " not in text(app)  # it had answered the same before
        await pilot.press("comma", "comma", "comma")
        await until(pilot, lambda: "step 50" in text(app) and "1 of 4" in text(app))
        await pilot.press("full_stop", "full_stop", "full_stop", "full_stop")
        await until(pilot, lambda: "4 of 4" in text(app))


@pytest.mark.asyncio
async def test_images_as_large_as_the_screen(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await _open(app, pilot, find_run(home, "receipts-lora-r32"), until)
        await pilot.press("i")
        assert isinstance(app.screen, ImageScreen)
        await until(pilot, lambda: text(app).count("▀" * 30) >= size[1] // 2)
        assert "1 of 2" in text(app) and "What animal" in text(app)
        await pilot.press("full_stop")
        await until(pilot, lambda: "2 of 2" in text(app) and "Half past two." in text(app))
        await pilot.press("comma", "left")
        await until(pilot, lambda: "2 of 2" in text(app))
        await pilot.press("i")
        assert isinstance(app.screen, RunScreen)


@pytest.mark.asyncio
async def test_a_hostile_image_name_and_one_that_is_none(tmp_path, dashboard, text, until) -> None:
    folder = RunFolder.create(tmp_path, TrainingSpec.parse({"base_model": "tiny", "dataset": "d.jsonl"}))
    with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host="h", attempt=1, resumed_from=None)
        journal.write("sample", step=1, row=1, image=HOSTILE, prompt=HOSTILE, answer=HOSTILE, expected=None)
        app = dashboard(tmp_path)
        async with app.run_test(size=(80, 24)) as pilot:
            await _open(app, pilot, folder, until)
            await pilot.press("a", "comma", "i")
            await until(pilot, lambda: "no image:" in text(app))
            screen_text = text(app)
            assert "[bold red]no" in screen_text and "\x1b" not in screen_text and "\u202e" not in screen_text


@pytest.mark.asyncio
async def test_what_is_done_to_a_run_from_its_screen(home, dashboard, text, until, monkeypatch) -> None:
    monkeypatch.setattr("mg_tui.runs.launch.start_worker", lambda folder, gpus=None, **_: 1)
    app = dashboard(home)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await _open(app, pilot, find_run(home, "chart-questions"), until)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        assert "Resume chart-questions?" in text(app)
        await pilot.press("n", "v")
        assert isinstance(app.screen, ReplayScreen)
        await pilot.press("escape", "w")
        assert isinstance(app.screen, PlainTextScreen)
        await pilot.press("escape", "d")
        assert isinstance(app.screen, DevicesScreen)
        await pilot.press("escape")
        assert app.screen is screen
        await pilot.press("R")
        await until(pilot, lambda: app.current_mode == "new")


@pytest.mark.asyncio
async def test_a_second_stop_ends_at_once(tmp_path, dashboard, text, until) -> None:
    folder = RunFolder.create(tmp_path, TrainingSpec.parse({"base_model": "tiny", "dataset": "d.jsonl", "name": "run"}))
    with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host="h", attempt=1, resumed_from=None)
        app = dashboard(tmp_path)
        async with app.run_test(size=(80, 24)) as pilot:
            await _open(app, pilot, folder, until)
            journal.write("request", request="stop", by="me")
            await until(pilot, lambda: "stopping after this step" in text(app))
            await pilot.press("s")
            await until(pilot, lambda: "Stop run now?" in text(app))
            shown = " ".join(text(app).replace("│", " ").split())
            assert "immediately" in shown and "saving a checkpoint?" in shown and app.focused.id == "no"
            await pilot.press("y")
            await until(pilot, lambda: any("-stop_now-" in file.name for file in folder.control_dir.iterdir()))


# --- kitty and sixel


def _fake_textual_image(monkeypatch, **classes) -> None:
    package, module = types.ModuleType("textual_image"), types.ModuleType("textual_image.widget")
    for name, value in classes.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "textual_image", package)
    monkeypatch.setitem(sys.modules, "textual_image.widget", module)


def test_graphics_only_when_asked_for(monkeypatch) -> None:
    kitty, sixel = object(), object()
    _fake_textual_image(monkeypatch, TGPImage=kitty, SixelImage=sixel)
    assert select_graphics("half-cell") == select_graphics("") == TerminalGraphics()
    assert select_graphics("kitty").widget_class is kitty and select_graphics("sixel").widget_class is sixel


def test_without_the_extra_half_cells_and_why(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "textual_image", None)
    graphics = select_graphics("kitty")
    assert graphics.widget_class is None and graphics.why


def test_a_package_that_fails_at_import_is_no_more_than_a_reason(monkeypatch) -> None:
    def broken(name: str):
        raise ZeroDivisionError("integer division or modulo by zero")  # a terminal of 0x0 cells

    monkeypatch.setattr("mg_tui.tui.graphics.import_module", broken)
    graphics = select_graphics("sixel")
    assert graphics.widget_class is None
    assert graphics.why is not None and "ZeroDivisionError" in graphics.why


@pytest.mark.asyncio
@pytest.mark.parametrize("works", [True, False])
async def test_the_terminals_graphics_or_half_cells(home, dashboard, text, until, works) -> None:
    from textual.widgets import Static

    class Drawn(Static):
        def __init__(self, image) -> None:
            if not works:
                raise RuntimeError("no such terminal")
            super().__init__(f"drawn by the terminal: {image.width}x{image.height}")

    app = dashboard(home)
    app.graphics = TerminalGraphics(Drawn)
    async with app.run_test(size=(80, 24)) as pilot:
        await _open(app, pilot, find_run(home, "receipts-lora-r32"), until)
        await pilot.press("i")
        if works:
            await until(pilot, lambda: "drawn by the terminal: " in text(app))
            assert not app.screen.query_one(ImageCells).display
            await pilot.press("full_stop")
            await until(pilot, lambda: len(app.screen.query(".drawn")) == 1 and "2 of 2" in text(app))
        else:
            await until(pilot, lambda: "no such terminal" in text(app) and "▀" * 30 in text(app))

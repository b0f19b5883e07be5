"""Smaller things of the second pass: axes, the line of keys, the queue, pickers, devices."""

import json
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from mg_tui.hardware.known_gpus import KNOWN_GPUS
from mg_tui.hardware.sampler import DeviceSampler
from mg_tui.runs.devices import CPU, Device, DeviceLocks
from mg_tui.tui import formatting
from mg_tui.tui.datasets.row_view import RowView
from mg_tui.tui.image_view import ImageView
from mg_tui.tui.models.catalog import ModelRow
from mg_tui.tui.new.choices import device_choices
from mg_tui.tui.runs.sorting import SORT_ORDERS, sort_rows
from mg_tui.tui.screens.chat import ChatScreen
from mg_tui.tui.screens.dataset import DatasetScreen
from mg_tui.tui.screens.devices import DevicesScreen
from mg_tui.tui.screens.picker import PickScreen
from mg_tui.tui.screens.plain_text import PlainTextScreen
from mg_tui.tui.widgets.bars import KeyBar
from mg_tui.tui.widgets.chart import ChartLine, Plot, draw_plot
from mg_tui.tui.widgets.datasets.row_table import RowTable
from mg_tui.tui.widgets.image_box import UNREADABLE, ImageBox
from tests.tui.synthetic_runs import SyntheticRun, synthetic_home

MIB = 2.0**20


# --- axes


@pytest.mark.parametrize("height", [8, 12, 15, 20, 31])
@pytest.mark.parametrize("top", [0.7, 1.9, 2.6, 437.0])
def test_ticks_are_evenly_far_apart(height: int, top: float) -> None:
    steps = list(range(1, 101))
    plot = Plot("Loss", (ChartLine("each", steps, [top * (1 - step / 130) for step in steps], "raw"),))
    rows = [y for y, line in enumerate(draw_plot(plot, 80, height)) if "┤" in line.plain]
    assert len(rows) >= 2 and len({b - a for a, b in pairwise(rows)}) == 1


def test_the_lower_axis_says_what_it_counts() -> None:
    plot = Plot("Loss", (ChartLine("each", [1, 2, 3], [3.0, 2.0, 1.0], "raw"),))
    assert draw_plot(plot, 60, 12)[-1].plain.strip().startswith("step └")


def test_bytes_have_binary_ticks_in_one_unit() -> None:
    values = [MIB * (300 + 6 * step) for step in range(100)]
    plot = Plot("Memory", (ChartLine("each", list(range(100)), values, "raw"),), None, formatting.size, True)
    labels = [line.plain.split("┤")[0].strip() for line in draw_plot(plot, 80, 20) if "┤" in line.plain]
    assert {label.split()[1] for label in labels} == {"MiB"}
    numbers = [float(label.split()[0]) for label in labels]
    assert all(number % 50 == 0 for number in numbers)
    assert formatting.size(999.8 * MIB) == "0.98 GiB" and formatting.size(954 * MIB) == "954 MiB"


# --- the queue


def test_number_one_stands_above_number_two(tmp_path: Path) -> None:
    from mg_tui.tui.runs.feeds import RunsFeed

    runs = tuple(SyntheticRun(name, "queued", 0, 0, ago) for name, ago in (("late", 60), ("early", 600)))
    with synthetic_home(tmp_path / "home", runs) as home:
        rows = RunsFeed(None, home, 1.0).read().rows  # type: ignore[arg-type, union-attr]
    for order in SORT_ORDERS:
        for reverse in (False, True):
            positions = [row.queue_position for row in sort_rows(rows, order, reverse=reverse)]
            assert positions == [(1, False), (2, False)], order.name


def test_a_busy_cpu_is_not_called_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mg_tui.runs.devices.find_devices", lambda: [Device(CPU)])
    for percent, note in ((3.0, "free"), (97.0, "97% busy with other programs")):
        monkeypatch.setattr(psutil, "cpu_percent", lambda interval, percent=percent: percent)
        assert [choice.note for choice in device_choices(tmp_path)] == [note]
    locks = DeviceLocks(tmp_path)
    assert locks.take([CPU], shared=True)
    try:
        assert [choice.note for choice in device_choices(tmp_path)] == ["used by a run"]
    finally:
        locks.release()


@pytest.mark.parametrize(
    ("number", "unit", "written"),
    [
        *(("1", "examples", "example"), ("1", "batches", "batch"), ("1", "processes", "process"), ("1", "GiB", "GiB")),
        *(("8", "batches", "batches"), ("1", "optimizer steps", "optimizer step"), ("1", "", "")),
    ],
)
def test_one_is_not_plural(number: str, unit: str, written: str) -> None:
    assert formatting.unit_after(number, unit) == written


@pytest.mark.asyncio
async def test_the_form_has_one_example_a_batch(tmp_path, dashboard, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: "Batch size" in text(app))
        assert "1 example " in text(app) and "1 examples" not in text(app)


# --- devices


def test_the_first_sample_of_the_cpu_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil says 0 of the time between two calls in a row."""
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 0.0 if interval is None else 64.0)
    host = DeviceSampler().sample().host
    assert host is not None and host.cpu_percent == 64.0


def test_large_gpus_are_known() -> None:
    names = " ".join(gpu.name for gpu in KNOWN_GPUS)
    assert all(name in names for name in ("H200 141 GB", "B200 192 GB", "RTX PRO 6000 96 GB"))
    assert max(gpu.usable_bytes for gpu in KNOWN_GPUS) > 170 * 2**30


@pytest.mark.asyncio
async def test_the_devices_screen_says_in_full_why_there_is_no_gpu(tmp_path, dashboard, text, until, monkeypatch):
    why = "no NVIDIA driver: libnvidia-ml not found (in a container, start it with --gpus all)"
    monkeypatch.setattr("mg_tui.hardware.nvml.Nvml.sample", lambda self: ((), why))
    app = dashboard(tmp_path)
    async with app.run_test(size=(60, 24)) as pilot:
        await app.push_screen(DevicesScreen())
        await until(pilot, lambda: why in " ".join(text(app).split()))


# --- the line of keys


def _write_rows(path: Path, count: int = 3) -> Path:
    path.write_text("".join(json.dumps({"text": f"what {n}", "response": "that"}) + "\n" for n in range(count)))
    return path


@pytest.mark.asyncio
async def test_the_line_of_keys_says_stop_while_checking(tmp_path, dashboard, size, text, until, monkeypatch) -> None:
    monkeypatch.setattr("mg_tui.tui.datasets.checker.DatasetChecker.start", lambda self: None)
    app = dashboard(tmp_path / "home")
    async with app.run_test(size=size) as pilot:
        await app.push_screen(DatasetScreen(str(_write_rows(tmp_path / "rows.jsonl"))))
        await until(pilot, lambda: app.screen.dataset is not None and "c check" in text(app))
        await pilot.press("c")
        await until(pilot, lambda: "c stop check" in app.screen.query_one(KeyBar).render().plain)


@pytest.mark.asyncio
async def test_the_line_of_keys_says_stop_while_answering(tmp_path, dashboard, size, text, until, monkeypatch) -> None:
    monkeypatch.setattr("mg_tui.tui.engine_client.EngineClient.request", lambda self, op, **values: None)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await app.push_screen(ChatScreen(ModelRow("tiny", "base", "tiny")))
        await until(pilot, lambda: "esc back" in text(app))
        await pilot.press("h", "i", "enter")
        await until(pilot, lambda: "esc stop answer" in text(app))


# --- pickers and texts


@pytest.mark.asyncio
async def test_a_chat_offers_the_dataset_that_its_model_was_trained_on(tmp_path, dashboard, until, monkeypatch) -> None:
    monkeypatch.setattr("mg_tui.tui.engine_client.EngineClient.request", lambda self, op, **values: None)
    data = _write_rows(tmp_path / "rows.jsonl")
    app = dashboard(tmp_path / "home")
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(ChatScreen(ModelRow("/m", "adapter", "mine", dataset=str(data))))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, PickScreen) and app.screen._current is not None)
        assert app.screen._current.reference == str(data)


@pytest.mark.asyncio
async def test_enter_on_a_folder_with_datasets_does_not_open_it_as_images(tmp_path, dashboard, text, until) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    data = _write_rows(folder / "rows.jsonl")
    app = dashboard(tmp_path / "home")
    chosen: list[str | None] = []
    async with app.run_test(size=(100, 30)) as pilot:
        app.push_screen(PickScreen("dataset", "Which?"), chosen.append)
        await until(pilot, lambda: isinstance(app.screen, PickScreen))
        app.screen._set_typed(f"{folder}/")
        await pilot.press("enter")
        await until(pilot, lambda: "enter again opens the whole folder" in text(app))
        assert chosen == []
        await pilot.press("down", "enter")
        await until(pilot, lambda: chosen)
    assert chosen == [str(data)]


@pytest.mark.asyncio
async def test_a_path_is_on_lines_of_its_own_over_the_whole_width(tmp_path, dashboard, text, until) -> None:
    path = "/home/somebody/.model-garden/runs/20261130-101010-abcd-receipts/checkpoints/s"
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(PlainTextScreen("Path", path, "A note."))
        await until(pilot, lambda: path in [line.rstrip() for line in text(app).splitlines()])


# --- images


def test_a_row_with_one_image_says_so() -> None:
    table = RowTable(lambda _numbers: None)
    assert [table.cell_of(RowView(1, images=n), "images", 6).plain for n in (0, 1, 3)] == ["0", "1", "3"]


@pytest.mark.asyncio
async def test_an_image_error_is_shown_once(tmp_path, dashboard, text, until) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"text": "what?", "image": "nowhere.jpg", "response": "that"}) + "\n")
    app = dashboard(tmp_path / "home")
    async with app.run_test(size=(120, 40)) as pilot:
        await app.push_screen(DatasetScreen(str(data)))
        await until(pilot, lambda: "does not exist" in text(app))
        assert text(app).count("does not exist") == 1 and "image not found" in text(app)


@pytest.mark.asyncio
async def test_a_chat_says_once_why_an_image_is_unreadable(tmp_path, dashboard, until) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        box = ImageBox()
        await app.screen.mount(box)
        box.show([ImageView(broken, "broken.png")])

        def lines() -> str:
            return " ".join(line.plain for line in box._image_lines(box._views[0], 40, 10))

        await until(pilot, lambda: "reading" not in lines())
        assert "cannot" in lines() or "not" in lines()
        box.reason_shown = True
        assert lines() == UNREADABLE

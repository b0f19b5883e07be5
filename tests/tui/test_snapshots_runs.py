"""Every screen of runs as it looks, as text: empty, loading, full and with an error, at both sizes.

A change is written anew with MODEL_GARDEN_SNAPSHOTS=write, and read in the diff.
"""

import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mg_tui.doctor.findings import MachineFinding
from mg_tui.hardware.sampler import DeviceSampler
from mg_tui.hardware.types import DeviceSnapshot, Gpu, GpuProcess, Host
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.store import find_run
from mg_tui.tui.device_history import DeviceHistory
from mg_tui.tui.places import PLACES
from tests.tui import synthetic_runs

pytestmark = pytest.mark.asyncio

SNAPSHOTS = Path(__file__).with_name("snapshots")
GIB = 1 << 30
NOW = 1_764_000_000.0
HOST = Host(31.0, 8 * GIB, 64 * GIB, "AMD EPYC 9654", 16)
GPUS = (
    Gpu(
        0,
        "NVIDIA H100 80GB HBM3",
        "GPU-5f3c9d1e",
        96,
        54 * GIB,
        80 * GIB,
        512,
        700,
        64,
        processes=(GpuProcess(4242, 52 * GIB, "python", None), GpuProcess(911, 2 * GIB, "ollama", None)),
        clock_mhz=1410,
        clock_max_mhz=1980,
        throttle_reasons=("heat (hardware)",),
        ecc_errors=0,
    ),
    Gpu(1, "NVIDIA H100 80GB HBM3", "GPU-11111111", 3, 11 * GIB, 80 * GIB, 90, 700, 34, ecc_errors=2),
)
_RUN_ID = re.compile(r"\b(\d{8}-\d{6})-[a-z0-9]{4}-")


MACHINE = [
    MachineFinding("torch", "torch", "ok", "2.15.0"),
    MachineFinding("shm", "shared memory", "warning", "0.1 GiB free", "start the container with --shm-size 8g"),
]


@pytest.fixture
def still(monkeypatch):
    """A clock that stands, devices that are always the same, and no other places than this one."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.setattr("mg_tui.tui.widgets.bars.PLACES", PLACES[:1])
    monkeypatch.setattr("mg_tui.tui.widgets.runs.run_table.time", lambda: NOW)
    monkeypatch.setattr(DeviceSampler, "sample", lambda self: DeviceSnapshot(GPUS, HOST, None, NOW))
    monkeypatch.setattr("mg_tui.doctor.examination.examine_machine", lambda *_folders: MACHINE)


@pytest.fixture
def compared(size, text):
    """Compare a screen with the text that is kept for it."""

    def compare(app, name: str) -> None:
        screen_text = _RUN_ID.sub(r"\1-0000-", text(app))
        screen_text = "\n".join(line.rstrip() for line in screen_text.splitlines()) + "\n"
        file = SNAPSHOTS / f"{name}-{size[0]}x{size[1]}.txt"
        if os.environ.get("MODEL_GARDEN_SNAPSHOTS") == "write":
            SNAPSHOTS.mkdir(exist_ok=True)
            file.write_text(screen_text, encoding="utf-8")
        assert screen_text == file.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def full(tmp_path, still):
    queued = (
        synthetic_runs.SyntheticRun("waiting-one", "queued", 0, 0, 90),
        synthetic_runs.SyntheticRun("waiting-two", "queued", 0, 0, 60),
    )
    with synthetic_runs.synthetic_home(tmp_path / "home", (*synthetic_runs.SYNTHETIC_RUNS, *queued)) as home:
        yield home


async def _list(app, pilot, until, text, *keys: str) -> None:
    await until(pilot, lambda: "invoices-v2" in text(app) and "H100" in text(app))
    await pilot.press(*keys)
    await pilot.pause(0.1)


async def test_list_empty(tmp_path, still, dashboard, size, text, until, compared) -> None:
    app = dashboard(Path("/none/home"))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "No runs yet" in text(app) and "H100" in text(app))
        compared(app, "runs-empty")


async def test_list_loading(tmp_path, still, dashboard, size, text, until, compared, monkeypatch) -> None:
    monkeypatch.setattr("mg_tui.tui.runs.feeds.RunsFeed.read", lambda self: None)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "reading runs" in text(app) and "H100" in text(app))
        compared(app, "runs-loading")


async def test_list_error(tmp_path, still, dashboard, size, text, until, compared, monkeypatch) -> None:
    def broken(self):
        raise OSError("the disk is [bold]gone[/]")

    monkeypatch.setattr("mg_tui.runs.store.RunStore.refresh", broken)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "the disk is" in text(app) and "H100" in text(app))
        compared(app, "runs-error")


async def test_list_full(full, dashboard, size, text, until, compared) -> None:
    app = dashboard(full)
    async with app.run_test(size=size) as pilot:
        await _list(app, pilot, until, text, "o", "j", "space", "space")
        compared(app, "runs-full")


async def test_question(full, dashboard, size, text, until, compared) -> None:
    app = dashboard(full)
    async with app.run_test(size=size) as pilot:
        await _list(app, pilot, until, text, "G", "x")
        compared(app, "question")


async def _run(app, pilot, until, folder) -> None:
    await until(pilot, lambda: app.run_rows is not None)
    app.open_run(folder)
    await until(pilot, lambda: getattr(app.screen, "detail", None) is not None)


@pytest.mark.parametrize(
    ("name", "said"),
    [("invoices-v2", "step  310"), ("handwriting", "The loss became NaN."), ("street-signs", "step  233")],
)
async def test_run(full, dashboard, size, text, until, compared, name, said) -> None:
    app = dashboard(full)
    async with app.run_test(size=size) as pilot:
        await _run(app, pilot, until, find_run(full, name))
        await until(pilot, lambda: said in text(app) and "Loss" in text(app))
        await until(pilot, lambda: size[1] < 30 or "H100" in text(app))
        compared(app, f"run-{name}")


async def test_run_loading(full, dashboard, size, text, until, compared, monkeypatch) -> None:
    monkeypatch.setattr("mg_tui.tui.runs.feeds.RunFeed.read", lambda self: None)
    app = dashboard(full)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.run_rows is not None)
        app.open_run(RunFolder(find_run(full, "invoices-v2").path))
        await until(pilot, lambda: "reading the journal" in text(app))
        await until(pilot, lambda: size[1] < 30 or "H100" in text(app))
        compared(app, "run-loading")


async def test_run_empty(full, dashboard, size, text, until, compared) -> None:
    app = dashboard(full)
    async with app.run_test(size=size) as pilot:
        await _run(app, pilot, until, find_run(full, "floor-plans"))
        await until(pilot, lambda: "has not started yet" in text(app) and "No output from the worker" in text(app))
        await until(pilot, lambda: size[1] < 30 or "H100" in text(app))
        compared(app, "run-empty")


async def test_answers(full, dashboard, size, text, until, compared) -> None:
    app = dashboard(full)
    async with app.run_test(size=size) as pilot:
        await _run(app, pilot, until, find_run(full, "receipts-lora-r32"))
        await pilot.press("a", "z")
        await until(pilot, lambda: "▀" in text(app) and "4 of 4" in text(app))
        compared(app, "answers")


async def test_image(full, dashboard, size, text, until, compared) -> None:
    app = dashboard(full)
    async with app.run_test(size=size) as pilot:
        await _run(app, pilot, until, find_run(full, "receipts-lora-r32"))
        await pilot.press("i")
        await until(pilot, lambda: "▀" in text(app))
        compared(app, "image")


async def test_compare(full, dashboard, size, text, until, compared) -> None:
    app = dashboard(full)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.run_rows is not None)
        names = ("receipts-lora-r32", "chart-questions", "street-signs")
        app.open_compare([find_run(full, name) for name in names])
        await until(pilot, lambda: "best eval" in text(app) and "Loss" in text(app))
        compared(app, "compare")


async def test_devices(full, dashboard, size, text, until, compared) -> None:
    app = dashboard(full)
    async with app.run_test(size=size) as pilot:
        await _list(app, pilot, until, text, "d")
        await until(pilot, lambda: "throttled" in text(app))
        screen = app.screen
        await until(pilot, lambda: screen.query_one("MachineFindings")._findings is not None)
        screen._feed.pause()
        app.device_history = history = DeviceHistory()
        for second in range(0, 100, 5):
            busy = replace(GPUS[0], utilization=50.0 + second % 40)
            history.add(DeviceSnapshot((busy, *GPUS[1:]), HOST, None, NOW - 100 + second))
        screen._draw_chart()
        screen.query_one("DeviceBlocks").show_snapshot(DeviceSnapshot(GPUS, HOST, None, NOW), {}, history)
        await pilot.pause()
        compared(app, "devices")


async def test_devices_that_cannot_be_seen(full, dashboard, size, text, until, compared, monkeypatch) -> None:
    app = dashboard(full)
    async with app.run_test(size=size) as pilot:
        await _list(app, pilot, until, text)
        lost = DeviceSnapshot((), HOST, "the NVIDIA driver stopped answering: GPU is lost", NOW)
        monkeypatch.setattr(DeviceSampler, "sample", lambda self: lost)
        await until(pilot, lambda: "no longer visible" in text(app))
        compared(app, "runs-gpus-lost")


async def test_messages_and_plain(full, dashboard, size, text, until, compared) -> None:
    app = dashboard(full)
    async with app.run_test(size=size) as pilot:
        await _list(app, pilot, until, text, "G", "w")
        await until(pilot, lambda: "/data/models/receipts" in text(app))
        await pilot.press("escape", "exclamation_mark")
        compared(app, "messages-empty")
        await pilot.press("escape")
        app.notify("receipts: [bold]gone[/]\nwhere: \x1b[31mhere", title="Cannot", severity="error")
        app.notify("a run ended", severity="information")
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: "a run ended" in text(app))
        compared(app, "messages-full")

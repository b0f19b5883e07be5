"""The strip of devices, the screen with all that is known of them, and a driver that vanishes while they are shown."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mg_tui.doctor.findings import MachineFinding
from mg_tui.hardware.types import DeviceSnapshot, Gpu, GpuProcess, Host, MigInstance
from mg_tui.tui.widgets.device_blocks import gpu_lines
from mg_tui.tui.widgets.runs.device_strip import device_lines

GIB = 1 << 30
HOST = Host(31.0, 8 * GIB, 64 * GIB, "AMD EPYC 9654", 16)


def _gpu(index: int, *processes: GpuProcess, used: float = 20) -> Gpu:
    return Gpu(index, "NVIDIA H100 80GB HBM3", None, 96, int(used * GIB), 80 * GIB, 512, 700, 64, None, processes)


@pytest.mark.parametrize("width", [58, 78, 118, 240])
def test_whose_memory_it_is(width) -> None:
    gpu = _gpu(0, GpuProcess(7, 18 * GIB, "python", "run-1"), GpuProcess(9, 2 * GIB, "vllm", None))
    (line,) = device_lines(DeviceSnapshot((gpu,), HOST, None, 0.0), width, 4, {"run-1": "invoices"})
    assert line.cell_length <= width
    assert "H100" in line.plain and "96%" in line.plain and "20.0/80.0 GiB" in line.plain
    if width >= 78:
        assert "invoices" in line.plain and "64°C" in line.plain and "512 W" in line.plain
    if width >= 118:
        assert "invoices 18.0 GiB" in line.plain and "vllm 9 2.00 GiB" in line.plain


def test_more_devices_than_lines() -> None:
    lines = device_lines(DeviceSnapshot(tuple(_gpu(i) for i in range(8)), HOST, None, 0.0), 78, 4, {})
    assert len(lines) == 4 and "5 more GPUs" in lines[-1].plain


def test_without_a_gpu_the_host_and_why() -> None:
    cpu, why = device_lines(DeviceSnapshot((), HOST, "no NVIDIA driver", 0.0), 78, 2, {})
    assert "CPU" in cpu.plain and "31%" in cpu.plain and "8.00/64.0 GiB" in cpu.plain
    assert why.plain == "No GPU: no NVIDIA driver"


def test_what_a_device_does_not_say_is_a_dash() -> None:
    silent = Gpu(0, "Tesla [red]K80\x1b[0m")
    (line,) = device_lines(DeviceSnapshot((silent,), HOST, None, 0.0), 118, 4, {})
    assert "– W" in line.plain and "\x1b" not in line.plain and "[red]" in line.plain
    (line,) = device_lines(DeviceSnapshot((Gpu(1, "A", problem="fell off the bus"),), HOST, None, 0.0), 78, 4, {})
    assert "fell off the bus" in line.plain


FAILING_GPU = Gpu(
    0,
    "NVIDIA [bold]H100[/] \x1b[31m",
    "GPU-1",
    96,
    50 * GIB,
    80 * GIB,
    512,
    700,
    88,
    processes=(GpuProcess(7, 48 * GIB, "python", "run-1"), GpuProcess(9, None, None, None)),
    clock_mhz=1200,
    clock_max_mhz=1980,
    throttle_reasons=("power cap", "heat (hardware)"),
    ecc_errors=3,
    mig=(MigInstance(1, "H100 MIG 3g.40gb", "MIG-1", 9 * GIB, 40 * GIB, (GpuProcess(11, 9 * GIB, "vllm", None),)),),
)


@pytest.mark.parametrize("width", [58, 78, 118, 240])
def test_everything_about_a_gpu(width) -> None:
    lines = gpu_lines(FAILING_GPU, ((96.0,), (0.6,)), {"run-1": "invoices"}, width)
    joined = "\n".join(line.plain for line in lines)
    assert all(line.cell_length <= width for line in lines) and "\x1b" not in joined
    for part in ("96%", "512/700 W", "88 °C", "▶ invoices", "MIG 1", "vllm", "3 memory errors", "[bold]H100"):
        assert part in joined, part
    if width >= 78:
        assert "throttled: power cap, heat (hardware)" in joined and "1200/1980 MHz" in joined
        assert "48.0 GiB" in joined and "process 11" in joined


def test_a_strip_says_what_is_wrong_in_a_word() -> None:
    (line,) = device_lines(DeviceSnapshot((FAILING_GPU,), HOST, None, 0.0), 118, 4, {"run-1": "invoices"})
    assert "3 ECC errors" in line.plain and "heat (hardware)" in line.plain
    (line,) = device_lines(DeviceSnapshot((FAILING_GPU,), HOST, None, 0.0), 78, 4, {})
    assert line.cell_length <= 78 and "3 ECC errors" in line.plain


def test_a_gpu_that_does_not_answer_is_a_line() -> None:
    lines = gpu_lines(Gpu(1, "GPU 1", problem="it does not answer: GPU is lost"), ((), ()), {}, 78)
    assert "✗ it does not answer: GPU is lost" in lines[1].plain


# The real binding over the stand-in library, in a process of its own with a whole dashboard.
VANISHING_DRIVER_SCRIPT = """
import asyncio, json, os, sys
from pathlib import Path
from mg_tui.config import Settings
from mg_tui.hardware import nvml
from mg_tui.tui.app import GardenApp
nvml._RETRY_SECONDS = 0.0
os.environ["NVML_PID"] = str(os.getpid())
state = Path(os.environ["NVML_FAKE"])

async def until(pilot, app, words):
    for _ in range(200):
        strips = app.screen._compositor.render_strips(app.size)
        shown = "\\n".join("".join(segment.text for segment in strip) for strip in strips)
        if all(word in shown for word in words):
            return True
        await pilot.pause(0.05)
    return shown

async def main():
    home = Path(sys.argv[1])
    app = GardenApp(Settings(home=home, cache=home))
    app.device_period = 0.05
    found = []
    async with app.run_test(size=(120, 40)) as pilot:
        for word, words in (
            ("ok", ["Fake GPU 0", "50%", "10.0/80.0 GiB", "40°C"]),
            ("hot", ["3 ECC errors", "heat (hardware)"]),
            ("gone", ["GPUs no longer visible", "the NVIDIA driver", "Runs continue"]),
            ("ok", ["Fake GPU 0", "50%"]),
            ("lost", ["Fake GPU 0", "no response"]),
        ):
            state.write_text(word)
            found.append(await until(pilot, app, words))
        await pilot.press("d")
        for word, words in (
            ("mig", ["MIG 1", "Fake GPU 2", "7.00 GiB"]),
            ("hot", ["throttled: power cap, heat (hardware)", "3 memory errors", "1200/1980 MHz"]),
            ("gone", ["No GPU: the NVIDIA driver"]),
            ("ok", ["123/700 W"]),
        ):
            state.write_text(word)
            found.append(await until(pilot, app, words))
    print(json.dumps(found))

asyncio.run(main())
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_driver_that_vanishes_is_a_band_and_not_the_end(tmp_path: Path) -> None:
    source = Path(__file__).parent.parent / "hardware" / "fake_nvml.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "libnvidia-ml.so.1", source], check=True)
    script = tmp_path / "script.py"
    script.write_text(VANISHING_DRIVER_SCRIPT)
    environ = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "NVML_FAKE": str(tmp_path / "state")}
    done = subprocess.run(
        [sys.executable, script, tmp_path / "home"], env=environ, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True] * 9


@pytest.mark.asyncio
async def test_the_devices_screen_shows_what_the_doctor_found(home, dashboard, text, until, monkeypatch) -> None:
    found = [
        MachineFinding("python", "Python", "ok", "3.13"),
        MachineFinding("gpu-ecc", "GPU 0", "problem", "3 [red]errors\x1b[31m", "reset it"),
        MachineFinding("shm", "shared memory", "warning", "0.1 GiB free", "start the container with --shm-size 8g"),
    ]
    monkeypatch.setattr("mg_tui.doctor.examination.examine_machine", lambda *_folders: found)
    app = dashboard(home)
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("d")
        await until(pilot, lambda: "1 check in order" in text(app))
        screen = text(app)
    assert screen.index("3 [red]errors") < screen.index("0.1 GiB free"), "problems come first"
    assert "try: reset it" in screen and "--shm-size 8g" in screen and "\x1b" not in screen

"""The strip of devices."""

import pytest

from mg_tui.hardware.devices import DeviceSnapshot, Gpu, GpuProcess, Host
from mg_tui.tui.widgets.runs.devices import device_lines

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

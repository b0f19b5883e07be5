"""The measured device and its properties. In a dry run the CPU replaces it."""

import platform
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from tasks import BenchmarkSetting, TaskReport

GIB = 2**30
PACKAGES = (
    *("torch", "transformers", "peft", "accelerate", "bitsandbytes", "triton", "flash-attn", "liger-kernel", "trl"),
    "model-garden-tui",
)
# Dense bfloat16 products, TFLOP/s, from NVIDIA's datasheets; by a part of the device's name, the longer part first.
PEAK_TFLOPS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "A10G": 70, "4090": 165}


class CudaDevice:
    """The first CUDA device."""

    name = "cuda:0"
    dry = False
    repeats = 4

    def __init__(self) -> None:
        self.title = torch.cuda.get_device_name(0)

    def synchronize(self) -> None:
        """Wait for all pending work."""
        torch.cuda.synchronize()

    def reset_peaks(self) -> None:
        """Release unused memory and restart the peak statistics."""
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def peaks(self) -> dict[str, int | None]:
        """Peak bytes since `reset_peaks`: of tensors, and reserved by the allocator."""
        return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}


class DryRunDevice:
    """The CPU."""

    name = "cpu"
    dry = True
    repeats = 1
    title = "CPU (dry run: no figure means anything)"

    def synchronize(self) -> None:
        """Nothing to do."""

    def reset_peaks(self) -> None:
        """Nothing to do."""

    def peaks(self) -> dict[str, int | None]:
        """Peak resident memory of the process so far."""
        return {"allocated": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "reserved": None}


Device = CudaDevice | DryRunDevice


def open_device(setting: BenchmarkSetting) -> Device:
    """The device of a setting; creates the CUDA context."""
    return DryRunDevice() if setting.dry else CudaDevice()


def median_seconds(run: Callable[[], Any], device: Device, repeats: int | None = None) -> float:
    """Median time of several calls, synchronized; the caller warms up."""
    times = []
    for _ in range(repeats or device.repeats):
        device.synchronize()
        started = time.perf_counter()
        run()
        device.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def describe_machine(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: the device, package versions, and the rate of bfloat16 products."""
    device = open_device(setting)
    report.put(device=device.title, python=platform.python_version(), machine=platform.machine())
    report.put(packages={name: _package_version(name) for name in PACKAGES})
    if device.dry:
        return
    properties = torch.cuda.get_device_properties(0)
    capability = f"{properties.major}.{properties.minor}"
    report.put(memory=properties.total_memory, capability=capability, cuda=torch.version.cuda)
    matrix = torch.randn(8192, 8192, dtype=torch.bfloat16, device=device.name)
    (matrix @ matrix).sum().item()
    seconds = median_seconds(lambda: matrix @ matrix, device)
    datasheet = next((peak for name, peak in PEAK_TFLOPS.items() if name in device.title), None)
    report.put(bfloat16_tflops=2 * 8192**3 / seconds / 1e12, datasheet_tflops=datasheet)


def check_nvml(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: a sample of Model Garden's device sampler, and whether allocating 1 GiB shows up as 1 GiB.

    Raises:
        RuntimeError: NVML reports no GPU.
    """
    setting.require_cuda()
    from mg_tui.hardware.sampler import DeviceSampler

    torch.zeros(1, device=setting.device)
    sampler = DeviceSampler()
    before = sampler.sample()
    if not before.gpus:
        raise RuntimeError(f"no GPU by NVML: {before.why_no_gpu}")
    block = torch.empty(GIB, dtype=torch.uint8, device=setting.device)
    torch.cuda.synchronize()
    after = sampler.sample().gpus[0]
    del block
    sampler.close()
    used = before.gpus[0].memory_used
    growth = None if used is None or after.memory_used is None else after.memory_used - used
    fields = asdict(after)
    report.put(gpu=fields, growth=growth, expected=GIB)
    report.put(unknown=[name for name, value in fields.items() if value is None])


class DriverMemory:
    """Device memory in use by NVML, in bytes above the use when this was created, polled by a thread.

    Create it before the process touches CUDA, so that its context counts. `peak` is None on a CPU and without NVML.
    """

    def __init__(self, setting: BenchmarkSetting):
        self._handle: Any = None
        if setting.dry:
            return
        import pynvml

        try:
            pynvml.nvmlInit()
            self._api, self._handle = pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
            self._before = self._peak = self._used()
        except pynvml.NVMLError as error:  # the other measurements work without
            print(f"NVML failed: {error}", file=sys.stderr)
            self._handle = None
            return
        threading.Thread(target=self._poll, daemon=True).start()

    def reset_peak(self) -> None:
        """Restart the peak."""
        self._peak = 0

    def peak(self) -> int | None:
        """Peak bytes since `reset_peak`."""
        if self._handle is None:
            return None
        self._peak = max(self._peak, self._used())
        return self._peak - self._before

    def _used(self) -> int:
        return int(self._api.nvmlDeviceGetMemoryInfo(self._handle).used)

    def _poll(self) -> None:
        while True:
            self._peak = max(self._peak, self._used())
            time.sleep(0.02)


def _package_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

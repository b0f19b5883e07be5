"""What the devices are doing: GPUs by NVML, the host by psutil. Sampling never raises; what is not known is None."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mg_tui.hardware.nvml import Nvml

# Whose processes are ours: process id of a living worker -> run id.
RunIdsByPid = Callable[[], Mapping[int, str]]

_CGROUP_ROOT: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process with memory on a GPU: bytes, its program's name, and the run it belongs to when it is one of ours.

    In a container NVML may give process ids of the host, which mean nothing here: then name and run are None.
    """

    pid: int
    memory: int | None
    name: str | None
    run_id: str | None


@dataclass(frozen=True, slots=True)
class MigInstance:
    """A part of a GPU in MIG mode: memory in bytes, and who holds it; None where the driver does not say."""

    index: int
    name: str
    uuid: str | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    processes: tuple[GpuProcess, ...] = ()


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: utilisation in percent, memory in bytes, power in watts, temperature in degrees Celsius, energy in
    joules since the driver was loaded, clocks in MHz; None where the device does not say. `slowed_by` says why its
    clocks are held down, `ecc_errors` counts memory errors since the driver was loaded that could not be corrected,
    `problem` says why it cannot be asked.
    """

    index: int
    name: str
    uuid: str | None = None
    utilization: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temperature_c: float | None = None
    energy_j: float | None = None
    processes: tuple[GpuProcess, ...] = ()
    problem: str | None = None
    clock_mhz: int | None = None
    clock_max_mhz: int | None = None
    throttle_reasons: tuple[str, ...] = ()
    ecc_errors: int | None = None
    mig: tuple[MigInstance, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """The machine: CPU use in percent of all cores, memory in bytes (the container's limit where it has one)."""

    cpu_percent: float
    ram_used: int
    ram_total: int
    cpu_name: str
    cores: int


@dataclass(frozen=True, slots=True)
class DeviceSnapshot:
    """Everything at one moment (`time`: Unix time in seconds). `why_no_gpu` is set exactly when `gpus` is empty."""

    gpus: tuple[Gpu, ...]
    host: Host
    why_no_gpu: str | None
    time: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class DeviceSampler:
    """Asks the devices whenever `sample` is called; use one from one thread at a time.

    NVML is opened at the first sample and opened again some seconds after it vanished (a driver being replaced).
    """

    def __init__(self, run_pids: RunIdsByPid | None = None):
        self._run_pids = run_pids
        self._nvml: Nvml | None = None
        self._cpu_name = cpu_name()
        self._host_ready = False

    def sample(self) -> DeviceSnapshot:
        """What is so now; takes milliseconds."""
        gpus, why = self._gpus()
        return DeviceSnapshot(gpus, self._host(), why, time.time())

    def close(self) -> None:
        """Let go of NVML; the next sample opens it again."""
        if self._nvml is not None:
            self._nvml.close()

    def _gpus(self) -> tuple[tuple[Gpu, ...], str | None]:
        from mg_tui.hardware.nvml import Nvml

        if self._nvml is None:
            self._nvml = Nvml()
        gpus, why = self._nvml.sample()
        if not any(gpu.processes or gpu.mig for gpu in gpus):
            return gpus, why
        runs = self._run_pids() if self._run_pids is not None else {}
        return tuple(_with_owners(gpu, runs) for gpu in gpus), why

    def _host(self) -> Host:
        import psutil

        if not self._host_ready:  # the first answer of psutil is about no time at all
            psutil.cpu_percent(interval=0.05)
            self._host_ready = True
        used, total = host_memory()
        return Host(psutil.cpu_percent(interval=None), used, total, self._cpu_name, usable_cores())


def _with_owners(gpu: Gpu, runs: Mapping[int, str]) -> Gpu:
    """The GPU with its processes named, and ours known."""

    def known(processes: tuple[GpuProcess, ...]) -> tuple[GpuProcess, ...]:
        return tuple(
            replace(item, name=process_name(item.pid), run_id=run_of_process(item.pid, runs)) for item in processes
        )

    parts = tuple(replace(part, processes=known(part.processes)) for part in gpu.mig)
    return replace(gpu, processes=known(gpu.processes), mig=parts)


def process_name(pid: int) -> str | None:
    """The name of a process's program; None when it cannot be seen from here."""
    import psutil

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None


def run_of_process(pid: int, runs: Mapping[int, str]) -> str | None:
    """The run whose worker is process `pid` or an ancestor of it (one of several training processes); None if none."""
    if not runs or pid in runs:
        return runs.get(pid)
    import psutil

    try:
        ancestors = psutil.Process(pid).parents()
    except psutil.Error:
        return None
    return next((runs[process.pid] for process in ancestors if process.pid in runs), None)


def host_memory() -> tuple[int, int]:
    """Bytes used and there in all, of this machine or of the container where that has fewer."""
    import psutil

    memory = psutil.virtual_memory()
    limit = cgroup_memory(_CGROUP_ROOT)
    if limit is not None and limit[1] < memory.total:
        return limit
    return memory.total - memory.available, memory.total


def cgroup_memory(root: Path) -> tuple[int, int] | None:
    """Bytes used (page cache that can be dropped left out) and allowed in this container; None without a limit."""
    try:
        allowed = int((root / "memory.max").read_text())
        used = int((root / "memory.current").read_text())
        stat = dict(line.split() for line in (root / "memory.stat").read_text().splitlines())
        return max(used - int(stat.get("inactive_file", 0)), 0), allowed
    except (OSError, ValueError):  # no such cgroup, or "max": no limit
        return None


def usable_cores() -> int:
    """CPU cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as people know it, or its architecture."""
    import platform

    with contextlib.suppress(OSError), cpuinfo.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine() or "CPU"

"""Samples GPUs (NVML) and the host (psutil). Sampling never raises; what is not known is None."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from mg_tui.hardware.host import cpu_name, host_memory, process_name, usable_cores
from mg_tui.hardware.nvml import Nvml
from mg_tui.hardware.types import DeviceSnapshot, Gpu, GpuProcess, Host

# Process id of a running worker -> run id.
RunIdsByPid = Callable[[], Mapping[int, str]]


class DeviceSampler:
    """Samples the devices whenever `sample` is called; use from one thread at a time.

    NVML is opened at the first sample, and reopened some seconds after it was lost (a driver update).
    """

    def __init__(self, run_pids: RunIdsByPid | None = None):
        self._run_pids = run_pids
        self._nvml: Nvml | None = None
        self._cpu_name = cpu_name()
        self._host_ready = False

    def sample(self) -> DeviceSnapshot:
        """The current values; takes milliseconds."""
        gpus, why = self._gpus()
        return DeviceSnapshot(gpus, self._host(), why, time.time())

    def close(self) -> None:
        """Close NVML; the next sample reopens it."""
        if self._nvml is not None:
            self._nvml.close()

    def _gpus(self) -> tuple[tuple[Gpu, ...], str | None]:
        if self._nvml is None:
            self._nvml = Nvml()
        gpus, why = self._nvml.sample()
        if not any(gpu.processes or gpu.mig for gpu in gpus):
            return gpus, why
        runs = self._run_pids() if self._run_pids is not None else {}
        return tuple(_with_owners(gpu, runs) for gpu in gpus), why

    def _host(self) -> Host:
        import psutil

        # psutil's first value has no time interval to refer to, and one just after it says 0 of a busy machine.
        busy = psutil.cpu_percent(interval=None if self._host_ready else 0.1)
        self._host_ready = True
        used, total = host_memory()
        return Host(busy, used, total, self._cpu_name, usable_cores())


def _with_owners(gpu: Gpu, runs: Mapping[int, str]) -> Gpu:
    """The GPU with process names, and run ids for processes of our runs."""

    def known(processes: tuple[GpuProcess, ...]) -> tuple[GpuProcess, ...]:
        return tuple(
            replace(item, name=process_name(item.pid), run_id=run_of_process(item.pid, runs)) for item in processes
        )

    parts = tuple(replace(part, processes=known(part.processes)) for part in gpu.mig)
    return replace(gpu, processes=known(gpu.processes), mig=parts)


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

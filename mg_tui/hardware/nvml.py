"""NVIDIA GPUs through NVML. The driver, a device or any single value may be missing or disappear."""

import time
from collections.abc import Callable
from typing import Any, Final

from mg_tui.hardware import nvml_details, nvml_health
from mg_tui.hardware.types import Gpu, GpuProcess

_RETRY_SECONDS: Final = 10.0  # seconds between attempts to open a library that does not respond

NO_LIBRARY: Final = "no NVIDIA driver: libnvidia-ml not found (in a container, start it with --gpus all)"
NO_BINDING: Final = "the Python package nvidia-ml-py is not installed"
NO_DEVICE: Final = "the NVIDIA driver reports no GPU"


class Nvml:
    """The NVML library, opened at the first query. Not thread-safe."""

    def __init__(self) -> None:
        self._api: Any = None
        self._open = False
        self._why: str | None = None
        self._try_at = 0.0

    def sample(self) -> tuple[tuple[Gpu, ...], str | None]:
        """The GPUs, and the reason if there is none. Never raises."""
        if not self._open and not self._try_to_open():
            return (), self._why
        try:
            count = int(self._api.nvmlDeviceGetCount())
        except self._api.NVMLError as error:
            self._lose(f"the NVIDIA driver stopped responding: {error}")
            return (), self._why
        if count == 0:
            return (), NO_DEVICE
        return tuple(self._gpu(index) for index in range(count)), None

    def read_energy(self, uuid: str) -> tuple[float | None, float | None]:
        """A GPU's energy in joules since its driver was loaded and its power in watts; None where not reported.

        Never raises.
        """
        if not self._open and not self._try_to_open():
            return None, None
        handle = self._query(self._api.nvmlDeviceGetHandleByUUID, uuid)
        if handle is None:
            return None, None
        return (
            _from_milli(self._query(self._api.nvmlDeviceGetTotalEnergyConsumption, handle)),
            _from_milli(self._query(self._api.nvmlDeviceGetPowerUsage, handle)),
        )

    def read_details(self) -> tuple[nvml_details.DriverVersions, tuple[nvml_details.GpuDetails, ...]]:
        """How driver and GPUs are set up; nothing is known where there are none. Never raises."""
        if not self._open and not self._try_to_open():
            return nvml_details.DriverVersions(), ()
        handles = {index: self._query(self._api.nvmlDeviceGetHandleByIndex, index) for index in range(self._count())}
        return nvml_details.read_driver_versions(self._query, self._api), tuple(
            nvml_details.read_details(self._query, self._api, index, handle)
            for index, handle in handles.items()
            if handle is not None
        )

    def _count(self) -> int:
        return int(self._query(self._api.nvmlDeviceGetCount) or 0)

    def close(self) -> None:
        """Shut NVML down; the next sample opens it again."""
        if self._open:
            self._open = False
            self._query(self._api.nvmlShutdown)

    def _try_to_open(self) -> bool:
        if time.monotonic() < self._try_at:
            return False
        self._try_at = time.monotonic() + _RETRY_SECONDS
        try:
            import pynvml
        except ImportError:
            self._why, self._try_at = NO_BINDING, float("inf")
            return False
        self._api = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError_LibraryNotFound:
            self._why = NO_LIBRARY
        except pynvml.NVMLError as error:
            self._why = f"the NVIDIA driver does not respond: {error}"
        else:
            self._open, self._why = True, None
        return self._open

    def _lose(self, why: str) -> None:
        self.close()
        self._why, self._try_at = why, time.monotonic() + _RETRY_SECONDS

    def _query(self, function: Callable[..., Any], *args: Any) -> Any:
        """The function's result, or None when this driver or device does not support it."""
        try:
            return function(*args)
        except (self._api.NVMLError, UnicodeDecodeError):
            return None

    def _gpu(self, index: int) -> Gpu:
        api = self._api
        try:
            handle = api.nvmlDeviceGetHandleByIndex(index)
        except api.NVMLError as error:
            return Gpu(index, f"GPU {index}", problem=f"no response: {error}")
        memory = self._query(api.nvmlDeviceGetMemoryInfo, handle)
        rates = self._query(api.nvmlDeviceGetUtilizationRates, handle)
        return Gpu(
            index=index,
            name=self._query(api.nvmlDeviceGetName, handle) or f"GPU {index}",
            uuid=self._query(api.nvmlDeviceGetUUID, handle),
            utilization=None if rates is None else float(rates.gpu),
            memory_used=None if memory is None else int(memory.used),
            memory_total=None if memory is None else int(memory.total),
            power_w=_from_milli(self._query(api.nvmlDeviceGetPowerUsage, handle)),
            power_limit_w=_from_milli(self._query(api.nvmlDeviceGetEnforcedPowerLimit, handle)),
            temperature_c=self._query(api.nvmlDeviceGetTemperature, handle, api.NVML_TEMPERATURE_GPU),
            energy_j=_from_milli(self._query(api.nvmlDeviceGetTotalEnergyConsumption, handle)),
            processes=self._processes(handle),
            **nvml_health.read_health(self._query, api, handle),
        )

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...]:
        processes: dict[int, GpuProcess] = {}
        for kind in ("Compute", "Graphics"):
            for process in self._running(kind, handle):
                memory = None if process.usedGpuMemory is None else int(process.usedGpuMemory)
                processes.setdefault(int(process.pid), GpuProcess(int(process.pid), memory, None, None))
        return tuple(sorted(processes.values(), key=lambda process: -(process.memory or 0)))

    def _running(self, kind: str, handle: Any) -> Any:
        """The driver's list of processes. Drivers before 510 only have version 2 of the function."""
        for version in ("v3", "v2"):
            function = getattr(self._api, f"nvmlDeviceGet{kind}RunningProcesses_{version}", None)
            processes = None if function is None else self._query(function, handle)
            if processes is not None:
                return processes
        return ()


def _from_milli(value: Any) -> float | None:
    return None if value is None else float(value) / 1000

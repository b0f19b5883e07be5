"""A GPU's throttling, memory errors and MIG instances, through NVML."""

from collections.abc import Callable
from typing import Any, Final

from mg_tui.hardware.types import GpuProcess, MigInstance

NvmlQuery = Callable[..., Any]

# Bits of nvmlClocksEventReasons (nvml.h). Omitted: idle, and user-defined clocks, which do not throttle.
_THROTTLE_REASONS: Final = (
    (0x04, "power cap"),
    (0x08, "hardware slowdown"),
    (0x10, "sync boost"),
    (0x20, "heat (driver)"),
    (0x40, "heat (hardware)"),
    (0x80, "power brake"),
)


def read_health(query: NvmlQuery, api: Any, handle: Any) -> dict[str, Any]:
    """Fields of a `Gpu`; each is None or empty where driver or device do not report it.

    Args:
        query: calls a function of the binding; returns None when that fails.
        api: the binding.
        handle: the device's handle.
    """
    return {
        "clock_mhz": _optional_int(query(api.nvmlDeviceGetClockInfo, handle, api.NVML_CLOCK_SM)),
        "clock_max_mhz": _optional_int(query(api.nvmlDeviceGetMaxClockInfo, handle, api.NVML_CLOCK_SM)),
        "throttle_reasons": _throttle_reasons(query, api, handle),
        "ecc_errors": _optional_int(
            query(
                api.nvmlDeviceGetTotalEccErrors,
                handle,
                api.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                api.NVML_VOLATILE_ECC,
            )
        ),
        "mig": _mig_instances(query, api, handle),
    }


def _throttle_reasons(query: NvmlQuery, api: Any, handle: Any) -> tuple[str, ...]:
    """Why the clocks are reduced. Drivers before 535 have the function under its older name."""
    for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
        function = getattr(api, name, None)
        bits = None if function is None else query(function, handle)
        if bits is not None:
            return tuple(reason for bit, reason in _THROTTLE_REASONS if bits & bit)
    return ()


def _mig_instances(query: NvmlQuery, api: Any, handle: Any) -> tuple[MigInstance, ...]:
    """The MIG instances of a GPU, with the processes that use their memory."""
    mode = query(api.nvmlDeviceGetMigMode, handle)
    if not mode or not mode[0]:
        return ()
    instances = []
    for index in range(int(query(api.nvmlDeviceGetMaxMigDeviceCount, handle) or 0)):
        part = query(api.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        if part is None:
            continue  # an unused slot
        memory = query(api.nvmlDeviceGetMemoryInfo, part)
        instances.append(
            MigInstance(
                index=index,
                name=query(api.nvmlDeviceGetName, part) or f"MIG {index}",
                uuid=query(api.nvmlDeviceGetUUID, part),
                memory_used=None if memory is None else int(memory.used),
                memory_total=None if memory is None else int(memory.total),
                processes=tuple(
                    GpuProcess(int(process.pid), _optional_int(process.usedGpuMemory), None, None)
                    for process in query(api.nvmlDeviceGetComputeRunningProcesses_v3, part) or ()
                ),
            )
        )
    return tuple(instances)


def _optional_int(value: Any) -> int | None:
    return None if value is None else int(value)

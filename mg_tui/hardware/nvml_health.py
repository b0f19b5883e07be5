"""What slows a GPU down or is wrong with it, and the parts it is divided into, by NVML."""

from collections.abc import Callable
from typing import Any, Final

from mg_tui.hardware.sampler import GpuProcess, MigInstance

NvmlQuery = Callable[..., Any]

# Bits of nvmlClocksEventReasons (nvml.h). Left out: idle, and clocks that somebody has set, which slow nothing down.
_THROTTLE_REASONS: Final = (
    (0x04, "power cap"),
    (0x08, "hardware slowdown"),
    (0x10, "sync boost"),
    (0x20, "heat (driver)"),
    (0x40, "heat (hardware)"),
    (0x80, "power brake"),
)


def read_health(ask: NvmlQuery, api: Any, handle: Any) -> dict[str, Any]:
    """Fields of a `Gpu`; each is None or empty where driver or device do not say.

    Args:
        ask: calls one of the binding's functions and answers None when that fails.
        api: the binding.
        handle: the device's.
    """
    return {
        "clock_mhz": _optional_int(ask(api.nvmlDeviceGetClockInfo, handle, api.NVML_CLOCK_SM)),
        "clock_max_mhz": _optional_int(ask(api.nvmlDeviceGetMaxClockInfo, handle, api.NVML_CLOCK_SM)),
        "throttle_reasons": _throttle_reasons(ask, api, handle),
        "ecc_errors": _optional_int(
            ask(
                api.nvmlDeviceGetTotalEccErrors,
                handle,
                api.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                api.NVML_VOLATILE_ECC,
            )
        ),
        "mig": _mig_instances(ask, api, handle),
    }


def _throttle_reasons(ask: NvmlQuery, api: Any, handle: Any) -> tuple[str, ...]:
    """Why the clocks are lower than they could be. Drivers before 535 know the question by its older name."""
    for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
        question = getattr(api, name, None)
        bits = None if question is None else ask(question, handle)
        if bits is not None:
            return tuple(said for bit, said in _THROTTLE_REASONS if bits & bit)
    return ()


def _mig_instances(ask: NvmlQuery, api: Any, handle: Any) -> tuple[MigInstance, ...]:
    """The instances a GPU in MIG mode is divided into, with whose memory they hold."""
    mode = ask(api.nvmlDeviceGetMigMode, handle)
    if not mode or not mode[0]:
        return ()
    found = []
    for index in range(int(ask(api.nvmlDeviceGetMaxMigDeviceCount, handle) or 0)):
        part = ask(api.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        if part is None:
            continue  # a place that no instance takes
        memory = ask(api.nvmlDeviceGetMemoryInfo, part)
        found.append(
            MigInstance(
                index=index,
                name=ask(api.nvmlDeviceGetName, part) or f"MIG {index}",
                uuid=ask(api.nvmlDeviceGetUUID, part),
                memory_used=None if memory is None else int(memory.used),
                memory_total=None if memory is None else int(memory.total),
                processes=tuple(
                    GpuProcess(int(process.pid), _optional_int(process.usedGpuMemory), None, None)
                    for process in ask(api.nvmlDeviceGetComputeRunningProcesses_v3, part) or ()
                ),
            )
        )
    return tuple(found)


def _optional_int(value: Any) -> int | None:
    return None if value is None else int(value)

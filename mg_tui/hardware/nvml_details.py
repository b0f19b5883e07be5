"""What a GPU and its driver are set up as: read once by `model-garden doctor`, not at every sample."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

NvmlQuery = Callable[..., Any]

# nvmlComputeMode_t (nvml.h); 0, the default, lets any number of processes use the GPU.
_COMPUTE_MODES: Final = {0: "default", 1: "exclusive", 2: "prohibited", 3: "exclusive"}


@dataclass(frozen=True, slots=True)
class DriverVersions:
    """The driver's version, and the newest CUDA it supports as (major, minor); None where not reported."""

    driver: str | None = None
    cuda: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class GpuDetails:
    """How one GPU is set up; None where device or driver do not report it.

    Attributes:
        index: as nvidia-smi counts.
        capability: compute capability (major, minor).
        compute_mode: "default", "exclusive" (one process at a time) or "prohibited" (none).
        mig_enabled: the GPU is divided and cannot be used as a whole.
        ecc_enabled: memory errors are corrected.
        rows_pending, rows_failed: memory rows wait for a reset to be replaced; some can no longer be.
        link_width, link_width_max: lanes of the PCIe link in use, and of the GPU.
        default_limit_w: the power limit in watts that the GPU comes with.
    """

    index: int
    capability: tuple[int, int] | None = None
    compute_mode: str | None = None
    mig_enabled: bool = False
    ecc_enabled: bool | None = None
    rows_pending: bool = False
    rows_failed: bool = False
    link_width: int | None = None
    link_width_max: int | None = None
    default_limit_w: float | None = None


def read_driver_versions(query: NvmlQuery, api: Any) -> DriverVersions:
    """The versions, by `query`, which calls a function of the binding and returns None when that fails."""
    cuda = query(api.nvmlSystemGetCudaDriverVersion)
    return DriverVersions(
        driver=query(api.nvmlSystemGetDriverVersion),
        cuda=None if cuda is None else (int(cuda) // 1000, int(cuda) % 1000 // 10),
    )


def read_details(query: NvmlQuery, api: Any, index: int, handle: Any) -> GpuDetails:
    """The details of one GPU; `query` as in `read_driver_versions`."""
    capability = query(api.nvmlDeviceGetCudaComputeCapability, handle)
    mode = query(api.nvmlDeviceGetComputeMode, handle)
    mig, ecc = query(api.nvmlDeviceGetMigMode, handle), query(api.nvmlDeviceGetEccMode, handle)
    rows = query(api.nvmlDeviceGetRemappedRows, handle)
    limit = query(api.nvmlDeviceGetPowerManagementDefaultLimit, handle)
    return GpuDetails(
        index=index,
        capability=None if capability is None else (int(capability[0]), int(capability[1])),
        compute_mode=None if mode is None else _COMPUTE_MODES.get(int(mode)),
        mig_enabled=bool(mig and mig[0]),
        ecc_enabled=None if ecc is None else bool(ecc[0]),
        rows_pending=bool(rows and rows[2]),
        rows_failed=bool(rows and rows[3]),
        link_width=query(api.nvmlDeviceGetCurrPcieLinkWidth, handle),
        link_width_max=query(api.nvmlDeviceGetMaxPcieLinkWidth, handle),
        default_limit_w=None if limit is None else float(limit) / 1000,
    )

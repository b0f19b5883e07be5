"""What is known of devices at one moment: plain data. None where the device or its driver does not report a value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process with memory on a GPU: bytes, its program's name, and its run if it belongs to one.

    In a container NVML may report process ids of the host, which cannot be looked up: then name and run are None.
    """

    pid: int
    memory: int | None
    name: str | None
    run_id: str | None


@dataclass(frozen=True, slots=True)
class MigInstance:
    """A MIG instance of a GPU: memory in bytes, and the processes that use it; None where not reported."""

    index: int
    name: str
    uuid: str | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    processes: tuple[GpuProcess, ...] = ()


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: utilization in percent, memory in bytes, power in watts, temperature in degrees Celsius, energy in
    joules since the driver was loaded, clocks in MHz; None where the device does not report a value. `throttle_reasons`
    are the reasons for reduced clocks, `ecc_errors` counts uncorrectable memory errors since the driver was loaded,
    `problem` is the reason why the device does not respond.
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

"""A sample of a server's devices, read from its answer."""

from collections.abc import Mapping
from typing import Any

from mg_tui.hardware.types import DeviceSnapshot, Gpu, GpuProcess, Host, MigInstance


def snapshot_of(record: Mapping[str, Any]) -> DeviceSnapshot | None:
    """The sample of `/devices/sample`; None when it is none. Fields that this version does not know are left out."""
    try:
        host = Host(**_known(Host, record["host"]))
        gpus = tuple(_gpu(item) for item in record["gpus"])
        return DeviceSnapshot(gpus, host, record["why_no_gpu"], float(record["time"]))
    except (TypeError, ValueError, KeyError, AttributeError):
        return None


def _gpu(record: Mapping[str, Any]) -> Gpu:
    values = _known(Gpu, record)
    values["processes"] = _processes(record)
    values["throttle_reasons"] = tuple(map(str, record.get("throttle_reasons") or ()))
    values["mig"] = tuple(
        MigInstance(**{**_known(MigInstance, part), "processes": _processes(part)}) for part in record.get("mig") or ()
    )
    return Gpu(**values)


def _processes(record: Mapping[str, Any]) -> tuple[GpuProcess, ...]:
    return tuple(GpuProcess(**_known(GpuProcess, item)) for item in record.get("processes") or ())


def _known(kind: Any, record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in kind.__dataclass_fields__ if name in record}

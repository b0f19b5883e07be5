"""The devices a run requests (`--gpus`) and the ones it got, saved in `devices.json` in its folder."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError
from mg_tui.core.files import write_atomic
from mg_tui.runs import devices
from mg_tui.runs.folder import RunFolder

_DEVICES_FILE: Final = "devices.json"


def write_device_request(folder: RunFolder, requested: Sequence[str], used: Sequence[str]) -> None:
    """Save which devices a run requested and which it got.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    path = folder.path / _DEVICES_FILE
    try:
        write_atomic(path, (json.dumps({"asked": list(requested), "used": list(used)}) + "\n").encode())
    except OSError as error:
        raise EnvironmentProblem("Cannot save the run's devices.", where=str(path), why=error.strerror) from error


def read_requested_devices(folder: RunFolder) -> tuple[str, ...] | None:
    """The devices a run requested when it was last started or queued; None when it never requested any."""
    try:
        return tuple(map(str, json.loads((folder.path / _DEVICES_FILE).read_bytes())["asked"])) or None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def requested_or_default_devices(folder: RunFolder, spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The devices a run requested before; else the CPU where its spec says so, else any one device."""
    return read_requested_devices(folder) or ((devices.CPU,) if spec.get("device") == "cpu" else (devices.ANY,))


def worker_environment(folder: RunFolder, gpus: Sequence[str] | None) -> dict[str, str]:
    """Environment variables that give a directly started worker its devices, shared with other such runs.

    Args:
        folder: the run.
        gpus: the devices it is to use, by name; None for those it requested before, else the default ones.

    Raises:
        EnvironmentProblem: this machine has no such device, or the request cannot be saved.
    """
    available = devices.find_devices()
    requested = tuple(gpus) if gpus is not None else read_requested_devices(folder)
    if requested is None:
        with contextlib.suppress(GardenError):
            if folder.spec_values().get("device") == "cpu":
                return {devices.SHARED_DEVICES_ENV: devices.CPU}
        return {devices.SHARED_DEVICES_ENV: ",".join(devices.default_devices(available, os.environ))}
    devices.require_devices(requested, available)
    used = requested
    if requested == (devices.ANY,):
        locks = devices.DeviceLocks(folder.home)
        free = [device.name for device in available if device.used_by is None and locks.is_free(device.name)]
        used = (free[0] if free else available[0].name,)
    write_device_request(folder, requested, used)
    return {devices.SHARED_DEVICES_ENV: ",".join(used), **devices.device_environment(used)}

"""The devices a run requests (`--gpus`) and the ones it got, saved in `devices.json` in its folder.

A training run has one process for each of its GPUs. So one without a request gets one GPU, however many the machine
has; with `processes` it gets as many GPUs as processes.
"""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, UsageError
from mg_tui.core.files import write_atomic
from mg_tui.runs import devices
from mg_tui.runs.folder import RUNS_FOLDER, RunFolder

_DEVICES_FILE: Final = "devices.json"


def write_device_request(folder: RunFolder, requested: Sequence[str], used: Sequence[str]) -> None:
    """Save which devices a run requested and which it got.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    _write_record(folder, {**_read_record(folder), "asked": list(requested), "used": list(used)})


def write_process_count(folder: RunFolder, processes: int) -> None:
    """Save how many processes a run has from its next start on, whatever its spec says.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    _write_record(folder, {**_read_record(folder), "processes": processes})


def read_requested_devices(folder: RunFolder) -> tuple[str, ...] | None:
    """The devices a run requested when it was last started or queued; None when it never requested any."""
    try:
        return tuple(map(str, _read_record(folder)["asked"])) or None
    except (TypeError, KeyError):
        return None


def read_process_count(folder: RunFolder) -> int | None:
    """How many processes a run is to have: as given when it was resumed, else as its spec says; None without either."""
    with contextlib.suppress(GardenError, ValueError, TypeError):
        spec = {} if folder.parent != RUNS_FOLDER else folder.spec_values()
        count = _read_record(folder).get("processes") or spec.get("processes")
        return None if count is None else int(count)
    return None


def requested_or_default_devices(folder: RunFolder, spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The devices a run requested before; else the CPU where its spec says so, else any one device."""
    return read_requested_devices(folder) or ((devices.CPU,) if spec.get("device") == "cpu" else (devices.ANY,))


def expand_request(
    folder: RunFolder, requested: Sequence[str], available: Sequence[devices.Device], processes: int | None = None
) -> tuple[str, ...]:
    """The request with `any` once for each process of a training run.

    Args:
        folder: the run.
        requested: names of devices, `any` or `all`.
        available: the devices of this machine.
        processes: how many there are to be, if that is not saved yet.

    Raises:
        UsageError: the number of processes and that of the named GPUs differ.
    """
    count = processes or read_process_count(folder)
    check_process_count(count, requested, available)
    return (
        (devices.ANY,) * (count or 1) if set(requested) == {devices.ANY} and _has_gpus(available) else tuple(requested)
    )


def check_process_count(
    count: int | None, requested: Sequence[str] | None, available: Sequence[devices.Device]
) -> None:
    """Check that there are as many processes as GPUs, where both are given.

    Raises:
        UsageError: there are not.
    """
    wanted = tuple(requested or (devices.ANY,))
    if count is None or devices.CPU in wanted or set(wanted) == {devices.ANY} or not _has_gpus(available):
        return
    named = len(available) if wanted == (devices.ALL,) else len(wanted)
    if named != count:
        given = f"{named} GPU{'s' if named != 1 else ''}"
        raise UsageError(
            f"processes: {count} with {given}; one process uses one GPU",
            hint=f"name {count} GPUs with --gpus, or leave --processes out",
        )


def _has_gpus(available: Sequence[devices.Device]) -> bool:
    return [device.name for device in available] != [devices.CPU]


def worker_environment(folder: RunFolder, gpus: Sequence[str] | None) -> dict[str, str]:
    """Environment variables that give a directly started worker its devices, shared with other such runs.

    Args:
        folder: the run.
        gpus: the devices it is to use, by name; None for those it requested before, else the default ones.

    Raises:
        EnvironmentProblem: this machine has no such device, too few are free, or the request cannot be saved.
        UsageError: the number of processes and that of the named GPUs differ.
    """
    available = devices.find_devices()
    requested = tuple(gpus) if gpus is not None else read_requested_devices(folder)
    if requested is None:
        with contextlib.suppress(GardenError):
            if folder.spec_values().get("device") == "cpu":
                return {devices.SHARED_DEVICES_ENV: devices.CPU}
        if expand_request(folder, (devices.ANY,), available) == (devices.ANY,):
            return _default_environment(folder, available)
        requested = (devices.ANY,)
    devices.require_devices(requested, available)
    expanded = expand_request(folder, requested, available)
    used = _choose_used(folder, expanded, available)
    write_device_request(folder, requested, used)
    return {devices.SHARED_DEVICES_ENV: ",".join(used), **devices.device_environment(used)}


def _default_environment(folder: RunFolder, available: Sequence[devices.Device]) -> dict[str, str]:
    """Without a request: the devices that are visible here; of a training run, the first of them."""
    names = devices.default_devices(available, os.environ)
    if folder.parent != RUNS_FOLDER or names == (devices.CPU,):
        return {devices.SHARED_DEVICES_ENV: ",".join(names)}
    visible = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    if visible:  # their order, and names that are not numbers, are those of whoever set the variable
        return {devices.SHARED_DEVICES_ENV: names[0], "CUDA_VISIBLE_DEVICES": visible[0]}
    return {devices.SHARED_DEVICES_ENV: names[0], **devices.device_environment(names[:1])}


def _choose_used(folder: RunFolder, requested: tuple[str, ...], available: Sequence[devices.Device]) -> tuple[str, ...]:
    locks = devices.DeviceLocks(folder.home)
    free = {
        device.name: device.used_by or (None if locks.is_free(device.name) else "in use by another run")
        for device in available
    }
    used = devices.choose_devices(requested, free)
    if not used and len(requested) == 1:
        return (available[0].name,)
    if not used:
        busy = "; ".join(f"{devices.device_title(name)}: {why}" for name, why in free.items() if why is not None)
        raise EnvironmentProblem(
            f"{len(requested)} processes need as many free GPUs.",
            why=busy or f"this machine has {len(available)}",
            hint="add --queue to wait for them, or name the GPUs with --gpus",
        )
    return used


def _read_record(folder: RunFolder) -> dict[str, Any]:
    try:
        record = json.loads((folder.path / _DEVICES_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(folder: RunFolder, record: Mapping[str, Any]) -> None:
    path = folder.path / _DEVICES_FILE
    try:
        write_atomic(path, (json.dumps(record) + "\n").encode())
    except OSError as error:
        raise EnvironmentProblem("Cannot save the run's devices.", where=str(path), why=error.strerror) from error

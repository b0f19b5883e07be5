"""The GPUs that a run is to train on together: whether they are free, of one kind, and which has the least memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from mg_tui.core.text import format_gib, one_line
from mg_tui.hardware.nvml import Nvml
from mg_tui.hardware.types import Gpu
from mg_tui.runs import devices


@dataclass(frozen=True, slots=True)
class GpuGroup:
    """GPUs of this machine that train together.

    Attributes:
        names: their names, as nvidia-smi counts.
        free: bytes that are free on the one with the least; None when a GPU does not say.
        findings: what is to be known before the run starts, a sentence each.
    """

    names: tuple[str, ...]
    free: int | None
    findings: tuple[str, ...] = ()


def look_at_gpus(requested: Sequence[str] | None, nvml: devices.GpuSampler | None = None) -> GpuGroup:
    """The GPUs that a request names; `all` are all of them, and a request for any names none.

    Raises:
        EnvironmentProblem: this machine does not have one of them.
    """
    gpus, _why = (nvml or Nvml()).sample()
    known = [devices.Device(str(gpu.index), devices.describe_user(gpu)) for gpu in gpus]
    names = tuple(requested or ())
    if not names or devices.ANY in names or devices.CPU in names:
        return GpuGroup((), None)
    devices.require_devices(names, known or [devices.Device(devices.CPU)])
    if names == (devices.ALL,):
        names = tuple(device.name for device in known)
    group = [gpu for gpu in gpus if str(gpu.index) in names]
    free = [
        gpu.memory_total - gpu.memory_used
        for gpu in group
        if gpu.memory_total is not None and gpu.memory_used is not None
    ]
    busy = [
        f"{device.title} is used by {one_line(device.used_by)}"
        for device in known
        if device.name in names and device.used_by
    ]
    least = min(free) if len(free) == len(group) and free else None
    return GpuGroup(names, least, (*busy, *_describe_kinds(group)))


def _describe_kinds(group: Sequence[Gpu]) -> list[str]:
    """A sentence when the GPUs are of several kinds or sizes: all have the same work."""
    ordered = sorted(group, key=lambda gpu: (gpu.name, gpu.memory_total or 0))
    kinds = [(kind, list(same)) for kind, same in groupby(ordered, key=lambda gpu: (gpu.name, gpu.memory_total))]
    if len(kinds) < 2:
        return []
    texts = []
    for (name, total), same in kinds:
        size = f", {format_gib(total)}" if total is not None else ""
        numbers = " and ".join(str(gpu.index) for gpu in same)
        texts.append(f"GPU {numbers}: {one_line(name)}{size}")
    return [
        f"the GPUs are of different kinds ({'; '.join(texts)}): the smallest decides how much fits, the slowest how "
        "long a step takes"
    ]

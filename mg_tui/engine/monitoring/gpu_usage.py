"""GPU energy and time of a run so far, all attempts together. Nothing on a CPU."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from mg_tui.hardware.energy import EnergyMeter
from mg_tui.hardware.nvml import Nvml


class GpuUsage:
    """Counts from its creation.

    Args:
        uuids: the run's GPUs, by NVML's UUIDs; none on a CPU.
        before: usage of earlier attempts, from their newest event.
        clock: seconds.
    """

    def __init__(self, uuids: Sequence[str], before: Mapping[str, float], clock: Callable[[], float] = time.monotonic):
        self._before = dict(before)
        self._gpus = len(uuids)
        self._clock = clock
        self._began = clock()
        self._meter = EnergyMeter(uuids, Nvml(), clock) if uuids else None

    def total(self) -> dict[str, Any]:
        """`energy_j` (joules of the GPUs) and `gpu_seconds` of the whole run; empty when nothing is known."""
        if self._meter is None:
            return dict(self._before)
        used = {"gpu_seconds": self._gpus * (self._clock() - self._began), "energy_j": self._meter.read()}
        known = {name: value for name, value in used.items() if value is not None}
        # An attempt whose energy is not known adds none to that of the others.
        return {name: round(self._before.get(name, 0.0) + known.get(name, 0.0), 3) for name in {*known, *self._before}}


def gpu_uuids_in_use() -> list[str]:
    """The GPUs that this process has memory on, as NVML names them."""
    if not torch.cuda.is_available():
        return []
    used = [n for n in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(n) > 0]
    ids = [getattr(torch.cuda.get_device_properties(n), "uuid", None) for n in used]  # builds other than CUDA have none
    return [f"GPU-{uuid}" for uuid in ids if uuid is not None]

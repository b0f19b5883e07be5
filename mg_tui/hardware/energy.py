"""Energy used by GPUs: from NVML's energy counters, or integrated from power where there is no counter."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol


class EnergySource(Protocol):
    """The part of `mg_tui.hardware.nvml.Nvml` that is used."""

    def read_energy(self, uuid: str) -> tuple[float | None, float | None]:
        """Joules since the driver was loaded, and watts now."""


class _EnergyReading:
    """The last readings of one GPU: counter in joules, power in watts, and when in seconds."""

    def __init__(self, counter: float | None, power: float | None, at: float):
        self.counter, self.power, self.at = counter, power, at

    def used(self, counter: float | None, power: float | None, at: float) -> float:
        """Joules since the last reading that had a value."""
        before = self.counter
        if counter is not None:
            self.counter = counter
        joules = 0.0
        if counter is not None and before is not None and counter >= before:
            joules = counter - before
        elif power is not None:  # no counter, or one that was reset with its driver
            joules = (power + (power if self.power is None else self.power)) / 2 * (at - self.at)
        elif counter is None:
            return 0.0  # no value: the next reading covers the time until then
        self.power, self.at = power, at
        return joules


class EnergyMeter:
    """Joules used by some GPUs since this object was created; call `read` from one thread at a time.

    Args:
        uuids: NVML's UUIDs of the GPUs (`GPU-...`).
        nvml: the library.
        clock: seconds.
    """

    def __init__(self, uuids: Sequence[str], nvml: EnergySource, clock: Callable[[], float] = time.monotonic):
        self._nvml = nvml
        self._clock = clock
        now = clock()
        self._gpus = {uuid: _EnergyReading(*nvml.read_energy(uuid), now) for uuid in uuids}
        # One GPU without a value makes the sum wrong.
        self.known = bool(self._gpus) and all(
            gpu.counter is not None or gpu.power is not None for gpu in self._gpus.values()
        )
        self._joules = 0.0

    def read(self) -> float | None:
        """Joules so far; None when a GPU reports neither energy nor power."""
        if not self.known:
            return None
        now = self._clock()
        self._joules += sum(gpu.used(*self._nvml.read_energy(uuid), now) for uuid, gpu in self._gpus.items())
        return self._joules

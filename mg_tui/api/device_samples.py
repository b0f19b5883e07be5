"""Samples of the devices for every caller: one sampler, however many ask."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mg_tui.hardware.sampler import DeviceSampler
    from mg_tui.hardware.types import DeviceSnapshot

_FRESH_SECONDS: Final = 0.5


class DeviceSamples:
    """The newest sample, taken when somebody asks and the last one is older than half a second."""

    def __init__(self, run_pids: Callable[[], Mapping[int, str]]):
        """`run_pids` returns the ids of running runs by the process id of their workers."""
        self._run_pids = run_pids
        self._lock = threading.Lock()
        self._sampler: DeviceSampler | None = None
        self._newest: tuple[float, DeviceSnapshot] | None = None

    def sample(self) -> "DeviceSnapshot":
        """The devices now."""
        with self._lock:
            if self._newest is None or time.monotonic() - self._newest[0] > _FRESH_SECONDS:
                if self._sampler is None:
                    from mg_tui.hardware.sampler import DeviceSampler

                    self._sampler = DeviceSampler(self._run_pids)
                self._newest = (time.monotonic(), self._sampler.sample())
            return self._newest[1]

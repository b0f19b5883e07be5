"""What each device did lately, kept for as long as the dashboard is open, whatever screen is shown."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mg_tui.tui import formatting

if TYPE_CHECKING:
    from mg_tui.hardware.types import DeviceSnapshot, Gpu

MAX_SAMPLES: Final = 1_800  # half an hour at a sample a second
_MIN_SECONDS: Final = 0.5  # between two samples: several screens may sample at the same time
HOST: Final = "CPU"


@dataclass(frozen=True, slots=True)
class DeviceMetric:
    """A metric of devices: its title, its value of a GPU (None: not reported), and how values are written."""

    title: str
    of_gpu: "Callable[[Gpu], float | None]"
    format_value: Callable[[float | None], str]


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


METRICS: Final = (
    DeviceMetric("Busy", lambda gpu: _share(gpu.utilization, 100.0), formatting.percent),
    DeviceMetric("Memory used", lambda gpu: _share(gpu.memory_used, gpu.memory_total), formatting.percent),
    DeviceMetric("Power in W", lambda gpu: gpu.power_w, formatting.whole),
    DeviceMetric("Temperature in °C", lambda gpu: gpu.temperature_c, formatting.whole),
)


class DeviceHistory:
    """Samples by device; old ones are dropped."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MAX_SAMPLES)
        # The values of every metric by device, one entry for each of `_times`; None where there was no value.
        self._samples: deque[dict[str, tuple[float | None, ...]]] = deque(maxlen=MAX_SAMPLES)

    def add(self, snapshot: "DeviceSnapshot") -> None:
        """Add a sample, unless one was added just before."""
        if self._times and snapshot.time - self._times[-1] < _MIN_SECONDS:
            return
        host = snapshot.host
        values = {f"GPU {gpu.index}": tuple(metric.of_gpu(gpu) for metric in METRICS) for gpu in snapshot.gpus}
        values[HOST] = (host.cpu_percent / 100, _share(host.ram_used, host.ram_total), None, None)
        self._times.append(snapshot.time)
        self._samples.append(values)

    @property
    def minutes(self) -> list[float]:
        """The times of the samples, in minutes after the newest one: 0 or less, and rising."""
        return [(time - self._times[-1]) / 60 for time in self._times]

    @property
    def devices(self) -> list[str]:
        """The devices that were sampled: GPUs by number, then the host."""
        return sorted({name for sample in self._samples for name in sample}, key=_device_order)

    def curve(self, device: str, metric: int) -> tuple[list[float], list[float]]:
        """Minutes and values of a metric (an index of `METRICS`) of a device, where it was reported."""
        points = [
            (minute, value)
            for minute, sample in zip(self.minutes, self._samples, strict=True)
            if device in sample and (value := sample[device][metric]) is not None
        ]
        return [minute for minute, _ in points], [value for _, value in points]


def _device_order(name: str) -> tuple[bool, int]:
    return name == HOST, int(name.rpartition(" ")[2]) if name != HOST else 0

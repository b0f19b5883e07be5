"""What no event of the journal says: a worker that does not respond, a full disk, GPUs that compute nothing."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from mg_tui.core.text import format_gib
from mg_tui.hardware.types import Gpu
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.heartbeat import describe_silence, explain_silence
from mg_tui.runs.state import RunState
from mg_tui.runs.watch import RunWatch

SILENT_SECONDS: Final = 60.0  # without a sign of life; shorter pauses happen on busy disks
LOW_DISK_BYTES: Final = 1 << 30
LOW_DISK_CHECKPOINTS: Final = 3  # fewer fit on the disk
IDLE_SECONDS: Final = 600.0
IDLE_PERCENT: Final = 2.0  # of utilization, at most
SAMPLE_SECONDS: Final = 30.0

SampleGpus = Callable[[], tuple[Gpu, ...]]
# A kind of trouble, its text, or None when it is over.
Trouble = tuple[str, str | None]


class HealthCheck:
    """Looks at one run; each kind of trouble is reported once, and again after it was over.

    Args:
        folder: the run.
        sample_gpus: the GPUs now.
        idle_seconds: for which GPUs have to be idle.
    """

    def __init__(self, folder: RunFolder, sample_gpus: SampleGpus, *, idle_seconds: float = IDLE_SECONDS):
        self._folder, self._sample_gpus, self._idle_seconds = folder, sample_gpus, idle_seconds
        self._idle_since: float | None = None
        self._sample_at = 0.0

    def check(self, watch: RunWatch, now: float) -> Iterator[Trouble]:
        """What is wrong now, and what is no longer."""
        running = watch.state is RunState.RUNNING
        silent = watch.silent_seconds if running else None
        if silent is not None and silent >= SILENT_SECONDS:
            why = explain_silence(watch.view.pid, watch.view.host)
            yield "stalled", f"{describe_silence(silent)}: {why}"
        elif silent is None:
            yield "stalled", None
        yield "disk", self._check_disk(watch) if running else None
        if running and now >= self._sample_at:
            self._sample_at = now + SAMPLE_SECONDS
            yield "gpu_idle", self._check_gpus(watch, now)
        elif not running:
            self._idle_since = None

    def _check_disk(self, watch: RunWatch) -> str | None:
        try:
            free = shutil.disk_usage(self._folder.path).free
        except OSError:
            return None
        largest = max((saved.bytes for saved in watch.view.checkpoints), default=0)
        needed = max(LOW_DISK_BYTES, LOW_DISK_CHECKPOINTS * largest)
        if free >= needed:
            return None
        fits = f", room for {free // largest} more checkpoints" if largest else ""
        return f"the disk is nearly full: {format_gib(free)} free{fits}; free some, or lower save_total_limit"

    def _check_gpus(self, watch: RunWatch, now: float) -> str | None:
        """GPUs that the run holds memory on, else all of them, idle for a while."""
        gpus = self._sample_gpus()
        own = [gpu for gpu in gpus if any(process.pid == watch.view.pid for process in gpu.processes)] or list(gpus)
        if not are_idle(own) or watch.view.phase != "training":
            self._idle_since = None
            return None
        if self._idle_since is None:
            self._idle_since = now
        seconds = now - self._idle_since
        if seconds < self._idle_seconds:
            return None
        return f"the GPUs have computed nothing for {seconds / 60:.0f} min, and cost the same as when they do"


def are_idle(gpus: Iterable[Gpu]) -> bool:
    """Whether GPUs compute nothing; False for those that do not say, or where there is none."""
    busy = [gpu.utilization for gpu in gpus if gpu.utilization is not None]
    return bool(busy) and max(busy) <= IDLE_PERCENT

"""The host: its memory, cores, processor and processes, as this process or its container sees them."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Final

_CGROUP_ROOT: Final = Path("/sys/fs/cgroup")


def host_memory() -> tuple[int, int]:
    """Bytes used and total, of this machine, or of the container where its limit is lower."""
    import psutil

    memory = psutil.virtual_memory()
    limit = cgroup_memory(_CGROUP_ROOT)
    if limit is not None and limit[1] < memory.total:
        return limit
    return memory.total - memory.available, memory.total


def cgroup_memory(root: Path) -> tuple[int, int] | None:
    """Bytes used (without reclaimable page cache) and allowed in this container; None without a limit."""
    try:
        allowed = int((root / "memory.max").read_text())
        used = int((root / "memory.current").read_text())
        stat = dict(line.split() for line in (root / "memory.stat").read_text().splitlines())
        return max(used - int(stat.get("inactive_file", 0)), 0), allowed
    except (OSError, ValueError):  # no such cgroup, or "max": no limit
        return None


def has_free_shared_memory(least: int = 2**30, *, folder: Path = Path("/dev/shm")) -> bool:
    """Whether batches can be handed over in shared memory: at least `least` bytes of it are free."""
    try:
        return shutil.disk_usage(folder).free >= least
    except OSError:
        return False


def usable_cores() -> int:
    """CPU cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's marketing name, or its architecture."""
    import platform

    with contextlib.suppress(OSError), cpuinfo.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine() or "CPU"


def process_name(pid: int) -> str | None:
    """The name of a process's program; None when the process is not visible."""
    import psutil

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None


def cgroup_cpu_limit(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int | None:
    """The CPU limit of this process's control group in cores, if it is below its CPU affinity; else None."""
    try:
        limit, period = quota.read_text(encoding="ascii").split()
        granted = max(1, round(int(limit) / int(period)))
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return granted if granted < len(os.sched_getaffinity(0)) else None

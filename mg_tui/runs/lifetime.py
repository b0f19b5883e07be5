"""The boot of the machine and the container, which no process outlives.

A worker records both when it starts. If they differ now, a run without a final event ended together with its machine or
container: it is interrupted, not crashed.
"""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_START_TIME_FIELD = 19  # field 22 of /proc/PID/stat counted from what follows the program's name (proc(5))


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The kernel's boot id; and the process namespace with the start of its first process, in clock ticks since boot.

    A namespace's number alone is not unique: the kernel reuses it. None where the system does not report it.
    """

    boot: str | None = None
    container: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the journal."""
        return asdict(self)

    def since(self, then: Mapping[str, Any]) -> str | None:
        """What has ended since `then` was recorded, in words; None when nothing has, or it is unknown."""
        boot, container = then.get("boot"), then.get("container")
        if boot and self.boot and boot != self.boot:
            return "the machine was restarted or is a different one"
        if container and self.container and container != self.container:
            return "its container has ended or is a different one"
        return None


@functools.cache
def current_lifetime(proc: Path = Path("/proc")) -> Lifetime:
    """The lifetime of this process."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip() or None
    except OSError:
        boot = None
    try:
        namespace = (proc / "self/ns/pid").readlink()
        ticks = (proc / "1/stat").read_bytes().rpartition(b")")[2].split()[_START_TIME_FIELD].decode()
        container = f"{namespace} {ticks}"
    except (OSError, IndexError):
        container = None
    return Lifetime(boot, container)

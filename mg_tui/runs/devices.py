"""Device ownership: one lock file per device under `<home>/devices`, held by the worker while it runs.

A queued run locks its devices exclusively; a directly started run shares its devices with other such runs, and the
queue waits for it. Processes of other programs are detected through NVML. Without a GPU the CPU is the only device.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.text import format_gib
from mg_tui.hardware.host import process_name
from mg_tui.hardware.nvml import Nvml
from mg_tui.hardware.types import Gpu
from mg_tui.runs.lock import register_close_on_fork

ANY: Final = "any"
ALL: Final = "all"
CPU: Final = "cpu"
INHERITED_FDS_ENV: Final = "MODEL_GARDEN_DEVICE_FDS"
SHARED_DEVICES_ENV: Final = "MODEL_GARDEN_DEVICES"  # devices a directly started worker shares: comma-separated names
# A display server or a monitor permanently uses a little GPU memory, and so does the driver.
_IDLE_PROCESS_BYTES: Final = 256 << 20
_DRIVER_BYTES: Final = 2 << 30


@dataclass(frozen=True, slots=True)
class Device:
    """A device by its name (`0`, `1`, ... as nvidia-smi counts, or `cpu`), and who else uses it."""

    name: str
    used_by: str | None = None

    @property
    def title(self) -> str:
        """The display name."""
        return device_title(self.name)


class GpuSampler(Protocol):
    """The part of `mg_tui.hardware.nvml.Nvml` that is used."""

    def sample(self) -> tuple[tuple[Gpu, ...], str | None]:
        """The GPUs, or the reason if there are none."""


def device_title(name: str) -> str:
    """`GPU 1`, `the CPU`, or `any GPU` and `all GPUs` of a request."""
    return {CPU: "the CPU", ANY: "any GPU", ALL: "all GPUs"}.get(name, f"GPU {name}")


def format_devices(names: Iterable[str]) -> str:
    """`GPU 0 and GPU 1`."""
    return " and ".join(device_title(name) for name in names)


def parse_devices(gpus: str | None) -> tuple[str, ...]:
    """Parse `--gpus`: the names of the devices, `("any",)` or `("all",)`.

    Raises:
        UsageError: it is invalid.
    """
    words = [word.strip() for word in (ANY if gpus is None else gpus).split(",")]
    if words in ([ANY], [ALL], [CPU]):
        return (words[0],)
    if not all(word.isdecimal() for word in words):
        raise UsageError(f"gpus: got {gpus!r}; expected nvidia-smi indices (0,1), all, any, or cpu")
    return tuple(dict.fromkeys(str(int(word)) for word in words))


def find_devices(nvml: GpuSampler | None = None) -> list[Device]:
    """The devices of this machine and their current users; never empty."""
    if nvml is None:
        nvml = Nvml()
    gpus, _why = nvml.sample()
    return [Device(str(gpu.index), _describe_user(gpu)) for gpu in gpus] or [Device(CPU)]


def require_devices(requested: Sequence[str], available: Sequence[Device]) -> None:
    """Require that this machine has the requested devices.

    Raises:
        EnvironmentProblem: it has not; names the available ones.
    """
    names = [device.name for device in available]
    if ALL in requested and names == [CPU]:
        raise EnvironmentProblem("No GPU found on this machine.", why="NVML reports none", hint="give --gpus any")
    missing = [name for name in requested if name not in (*names, ANY, ALL, CPU)]
    if missing:
        raise EnvironmentProblem(
            f"{format_devices(missing)} not found on this machine.",
            why="NVML reports no GPU" if names == [CPU] else f"available: {format_devices(names)}",
            hint="give --gpus any" if names == [CPU] else f"give --gpus {','.join(names)}",
        )


def default_devices(available: Sequence[Device], environ: Mapping[str, str]) -> tuple[str, ...]:
    """The devices of a worker without a device request: those visible to it, or the first."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    names = [device.name for device in available]
    if names == [CPU] or visible in ("", "-1"):
        return (CPU,)
    chosen = tuple(word for word in (visible or "").split(",") if word in names)
    return chosen or (names[0],)


def choose_devices(requested: Sequence[str], available: Mapping[str, str | None]) -> tuple[str, ...]:
    """The devices that satisfy a request, or the ones to wait for; empty when it is for any and too few are free.

    Args:
        requested: names; `any`, once for each device that is wanted; or `all`.
        available: every device of this machine with the reason why it is not free, or None.
    """
    if tuple(requested) == (ALL,):
        return tuple(name for name in available if name != CPU)
    if any(name != ANY for name in requested):
        return tuple(requested)
    free = [name for name, why in available.items() if why is None and (name != CPU or len(available) == 1)]
    return tuple(free[: len(requested)]) if len(free) >= len(requested) else ()


def device_environment(names: Sequence[str]) -> dict[str, str]:
    """Environment variables that restrict a worker to these devices."""
    visible = "" if CPU in names else ",".join(names)
    return {"CUDA_VISIBLE_DEVICES": visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


class DeviceLocks:
    """Locks of several devices, held together."""

    def __init__(self, home: Path):
        self._dir = home / "devices"
        self._fds: dict[str, int] = {}
        register_close_on_fork(self)

    def take(self, names: Iterable[str], *, shared: bool = False) -> bool:
        """Lock all of the devices or none; returns whether they are locked.

        Raises:
            EnvironmentProblem: the lock files cannot be created.
        """
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
            for name in names:
                fd = os.open(self._dir / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                self._fds[name] = fd
                fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            return False
        except OSError as error:
            self.release()
            raise EnvironmentProblem(
                "Cannot acquire the device lock.", where=str(self._dir), why=error.strerror
            ) from error
        return True

    def is_free(self, name: str) -> bool:
        """Whether no process holds a device at this moment."""
        trial = DeviceLocks(self._dir.parent)
        try:
            return trial.take([name])
        finally:
            trial.release()

    def release(self) -> None:
        """Release all locks."""
        for fd in self._fds.values():
            with contextlib.suppress(OSError):
                os.close(fd)
        self._fds.clear()

    def close_after_fork(self) -> None:
        """In a forked child: release the parent's locks."""
        self.release()

    def hand_over(self) -> dict[str, str]:
        """Keep the locks across `exec`; returns the environment variables the next program needs."""
        for fd in self._fds.values():
            os.set_inheritable(fd, True)
        return {INHERITED_FDS_ENV: ",".join(f"{name}:{fd}" for name, fd in self._fds.items())}

    def adopt(self) -> str | None:
        """In a worker: adopt inherited locks, or take shared ones; returns a warning about shared use, if any."""
        handed = os.environ.pop(INHERITED_FDS_ENV, None)
        shared = os.environ.pop(SHARED_DEVICES_ENV, None)
        with contextlib.suppress(ValueError, OSError):
            for name, fd in (pair.split(":") for pair in (handed or "").split(",") if pair):
                os.set_inheritable(int(fd), False)
                self._fds[name] = int(fd)
        names = shared.split(",") if shared else []
        try:
            if handed or self.take(names, shared=True):
                return None
        except EnvironmentProblem:
            return None  # a home without locks has no queue either
        return f"a queued run is using {format_devices(names)}; the two runs share memory and compute"


def _describe_user(gpu: Gpu) -> str | None:
    """Who uses a GPU significantly, or None."""
    if gpu.problem:
        return gpu.problem
    heavy = [p for p in gpu.processes if p.memory is None or p.memory >= _IDLE_PROCESS_BYTES]
    if heavy:
        first, more = heavy[0], len(heavy) - 1
        size = f", {format_gib(first.memory)}" if first.memory is not None else ""
        name = first.name or process_name(first.pid) or "a process"
        return f"{name} (process {first.pid}{size})" + (f" and {more} more" if more else "")
    # In a container the driver may not list the host's processes.
    if not gpu.processes and (gpu.memory_used or 0) > _DRIVER_BYTES:
        return f"a process not visible here ({format_gib(gpu.memory_used or 0)})"
    return None

"""Allocates devices to queued runs: a pure function, so that all waiting processes get the same result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mg_tui.runs.devices import CPU, choose_devices, device_title, format_devices


@dataclass(frozen=True, slots=True)
class QueueRequest:
    """A queued run's request; `ready`: it may start, i.e. it is not held and its waiting process runs."""

    run_id: str
    gpus: tuple[str, ...]
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Allocation:
    """The devices a run gets, or why it gets none yet."""

    devices: tuple[str, ...] = ()
    why: str = ""


def allocate_devices(run_id: str, queue: Sequence[QueueRequest], available: Mapping[str, str | None]) -> Allocation:
    """The devices for a queued run.

    Earlier runs come first: devices they can start on, and devices they wait for by name, are reserved for them. Other
    devices are available to later runs.

    Args:
        run_id: the run.
        queue: the queued runs in order.
        available: every device of this machine with the reason why it is not free, or None.
    """
    taken = dict(available)
    for request in queue:
        candidates = choose_devices(request.gpus, taken)
        free = bool(candidates) and all(name in taken and taken[name] is None for name in candidates)
        if request.run_id == run_id:
            if not request.ready:
                return Allocation(why="on hold; release it with `model-garden runs release`")
            if free:
                return Allocation(devices=candidates)
            return Allocation(why=_why_not_free(request.gpus, candidates, taken))
        if request.ready:
            for name in candidates:
                if taken.get(name) is None:
                    taken[name] = f"waiting for run {request.run_id}"
    return Allocation(why="no longer queued")


def _why_not_free(gpus: tuple[str, ...], candidates: tuple[str, ...], taken: Mapping[str, str | None]) -> str:
    if missing := [name for name in candidates if name not in taken]:
        return f"{format_devices(missing)} not available"
    names = candidates or tuple(taken)
    reasons = [f"{device_title(name)}: {taken[name]}" for name in names if taken.get(name) is not None]
    return "; ".join(reasons) or f"no device is free for {', '.join(gpus)}"


def with_cpu(
    available: Mapping[str, str | None], requests: Sequence[QueueRequest], cpu: str | None
) -> dict[str, str | None]:
    """The devices, with the CPU added if a run requests it on a machine with GPUs."""
    if CPU in available or not any(CPU in request.gpus for request in requests):
        return dict(available)
    return {**available, CPU: cpu}

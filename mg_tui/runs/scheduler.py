"""Whose turn it is: pure, so that every waiting process comes to the same answer from the same order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mg_tui.runs.devices import ANY, CPU, device_title, format_devices


@dataclass(frozen=True, slots=True)
class QueueRequest:
    """What a queued run asks for; `ready` is whether it may start: not held, and its waiting process lives."""

    run_id: str
    gpus: tuple[str, ...]
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Allocation:
    """The devices a run gets, or why it gets none yet."""

    devices: tuple[str, ...] = ()
    why: str = ""


def allocate_devices(run_id: str, queue: Sequence[QueueRequest], available: Mapping[str, str | None]) -> Allocation:
    """Whether it is a run's turn.

    Those before it come first: what they can start on, and what they are waiting for by name, is theirs. What none of
    them wants is free for those behind.

    Args:
        run_id: whose turn is asked for.
        queue: the queued runs in their order.
        here: every device of this machine with why it is not free, or None when it is.
    """
    taken = dict(available)
    for request in queue:
        candidates = _candidate_devices(request.gpus, taken)
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


def _candidate_devices(gpus: tuple[str, ...], taken: Mapping[str, str | None]) -> tuple[str, ...]:
    """The devices a wish comes to now; empty when it is any of them and none is free."""
    if gpus != (ANY,):
        return gpus
    return next(((name,) for name, why in taken.items() if why is None), ())


def _why_not_free(gpus: tuple[str, ...], candidates: tuple[str, ...], taken: Mapping[str, str | None]) -> str:
    if missing := [name for name in candidates if name not in taken]:
        return f"{format_devices(missing)} not available"
    names = candidates or tuple(taken)
    reasons = [f"{device_title(name)}: {taken[name]}" for name in names if taken.get(name) is not None]
    return "; ".join(reasons) or f"no device is free for {', '.join(gpus)}"


def with_cpu(
    available: Mapping[str, str | None], requests: Sequence[QueueRequest], cpu: str | None
) -> dict[str, str | None]:
    """The devices, and the CPU among them where somebody asked for it on a machine with GPUs."""
    if CPU in available or not any(CPU in request.gpus for request in requests):
        return dict(available)
    return {**available, CPU: cpu}

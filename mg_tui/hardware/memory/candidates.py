"""Devices a run could use: those of this machine with their free memory, and common GPUs."""

from collections.abc import Sequence
from dataclasses import dataclass

from mg_tui.core.spec import TrainingSpec
from mg_tui.hardware.known_gpus import KNOWN_GPUS
from mg_tui.hardware.memory.advisor import MemoryAdvisor, MemorySuggestion
from mg_tui.hardware.memory.ranks import Ranks
from mg_tui.hardware.sampler import DeviceSampler
from mg_tui.hardware.types import DeviceSnapshot


@dataclass(frozen=True, slots=True)
class CandidateDevice:
    """A device a run could use: its name, free bytes, the source of that number; `here`: it is in this machine."""

    name: str
    free: int
    source: str
    here: bool


@dataclass(frozen=True, slots=True)
class DeviceFit:
    """What fits on a device: `batch` and `pixels` are None when not even the smallest fits.

    `parallel` is ddp or fsdp with several processes, each on such a device, and None with one.
    """

    place: CandidateDevice
    fits: bool
    batch: int | None
    pixels: int | None
    suggestions: list[MemorySuggestion]
    parallel: str | None = None
    peak: int = 0


def find_candidates(spec: TrainingSpec) -> tuple[list[CandidateDevice], str | None]:
    """This machine's devices and common GPUs, and the reason if this machine has no GPU."""
    sampler = DeviceSampler()
    snapshot = sampler.sample()
    sampler.close()
    local = local_candidates(snapshot, spec)
    if spec.device == "cpu":
        return local, None
    return [
        *local,
        *(CandidateDevice(gpu.name, gpu.usable_bytes, gpu.source, False) for gpu in KNOWN_GPUS),
    ], snapshot.why_no_gpu


def local_candidates(snapshot: DeviceSnapshot, spec: TrainingSpec) -> list[CandidateDevice]:
    """The devices of this machine that `spec` can run on: its GPUs, or its memory when the run is for the CPU."""
    if spec.device == "cpu":
        host = snapshot.host
        return [CandidateDevice("this machine's RAM", host.ram_total - host.ram_used, "free now", True)]
    return [
        CandidateDevice(f"{gpu.name} (GPU {gpu.index})", gpu.memory_total - gpu.memory_used, "free now", True)
        for gpu in snapshot.gpus
        if gpu.memory_total is not None and gpu.memory_used is not None
    ]


def settle_for(
    question: MemoryAdvisor, places: Sequence[CandidateDevice], *, count: int, parallel: str
) -> MemoryAdvisor:
    """The question for `count` processes on the devices of this machine: the one with the least decides.

    Without a device here, `auto` is ddp: a whole model on each.
    """
    here = [place.free for place in places if place.here]
    return question.settle(count, parallel, min(here) if here else question.with_ranks(Ranks(count)).estimate().peak)


def fit_on(question: MemoryAdvisor, place: CandidateDevice, *, count: int = 1, parallel: str = "auto") -> DeviceFit:
    """What fits on a device, and which changes would make the spec fit.

    Args:
        question: the run.
        place: the device.
        count: training processes, each on such a device.
        parallel: ddp, fsdp or auto.
    """
    question = question.settle(count, parallel, place.free)
    return DeviceFit(
        parallel=question.ranks.parallel if count > 1 else None,
        peak=question.estimate().peak,
        place=place,
        fits=question.fits(place.free),
        batch=question.largest_batch(place.free),
        pixels=question.largest_pixels(place.free),
        suggestions=question.suggestions(place.free),
    )

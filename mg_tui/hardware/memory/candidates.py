"""Where a run could be: the devices of this machine with what is free on them, and GPUs people have."""

from dataclasses import dataclass

from mg_tui.core.spec import TrainingSpec
from mg_tui.hardware.known_gpus import KNOWN_GPUS
from mg_tui.hardware.memory.advisor import MemoryAdvisor, MemorySuggestion
from mg_tui.hardware.sampler import DeviceSampler
from mg_tui.hardware.types import DeviceSnapshot


@dataclass(frozen=True, slots=True)
class CandidateDevice:
    """Somewhere a run could be: its name, the bytes it has for one, where that number is from, and if it is here."""

    name: str
    free: int
    source: str
    here: bool


@dataclass(frozen=True, slots=True)
class DeviceFit:
    """What a place can take: `batch` and `pixels` are None when not even the smallest fits."""

    place: CandidateDevice
    fits: bool
    batch: int | None
    pixels: int | None
    suggestions: list[MemorySuggestion]


def find_candidates(spec: TrainingSpec) -> tuple[list[CandidateDevice], str | None]:
    """The devices here and common ones, and why there is no GPU here when there is none."""
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


def fit_on(question: MemoryAdvisor, place: CandidateDevice) -> DeviceFit:
    """What fits into a place, and what would have to change."""
    return DeviceFit(
        place=place,
        fits=question.fits(place.free),
        batch=question.largest_batch(place.free),
        pixels=question.largest_pixels(place.free),
        suggestions=question.suggestions(place.free),
    )

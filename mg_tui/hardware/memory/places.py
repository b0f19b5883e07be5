"""Where a run could be: the devices of this machine with what is free on them, and GPUs people have."""

from dataclasses import dataclass

from mg_tui.core.spec import TrainingSpec
from mg_tui.hardware.devices import DeviceSampler, DeviceSnapshot
from mg_tui.hardware.gpus import KNOWN_GPUS
from mg_tui.hardware.memory.advice import Question, Remedy


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere a run could be: its name, the bytes it has for one, where that number is from, and if it is here."""

    name: str
    free: int
    source: str
    here: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a place can take: `batch` and `pixels` are None when not even the smallest fits."""

    place: Place
    fits: bool
    batch: int | None
    pixels: int | None
    remedies: list[Remedy]


def places(spec: TrainingSpec) -> tuple[list[Place], str | None]:
    """The devices here and common ones, and why there is no GPU here when there is none."""
    sampler = DeviceSampler()
    snapshot = sampler.sample()
    sampler.close()
    here = places_here(snapshot, spec)
    if spec.device == "cpu":
        return here, None
    return [*here, *(Place(gpu.name, gpu.usable, gpu.source, False) for gpu in KNOWN_GPUS)], snapshot.why_no_gpu


def places_here(snapshot: DeviceSnapshot, spec: TrainingSpec) -> list[Place]:
    """The devices of this machine that `spec` can run on: its GPUs, or its memory when the run is for the CPU."""
    if spec.device == "cpu":
        host = snapshot.host
        return [Place("this machine's RAM", host.ram_total - host.ram_used, "free now", True)]
    return [
        Place(f"{gpu.name} (GPU {gpu.index})", gpu.memory_total - gpu.memory_used, "free now", True)
        for gpu in snapshot.gpus
        if gpu.memory_total is not None and gpu.memory_used is not None
    ]


def answer(question: Question, place: Place) -> Answer:
    """What fits into a place, and what would have to change."""
    return Answer(
        place=place,
        fits=question.fits(place.free),
        batch=question.largest_batch(place.free),
        pixels=question.largest_pixels(place.free),
        remedies=question.remedies(place.free),
    )

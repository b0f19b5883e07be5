#!/opt/garden/bin/python -IS
"""What is wrong with the container as it was started, in one sentence each, with what to do about it.

Needs the standard library only and takes milliseconds: process 1 runs it before the command, and `garden-checks` in a
container repeats it. It exits with 1 if it prints something. `model-garden` itself reports what a run meets later.
"""

import contextlib
import ctypes
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30
MIN_SHARED_BYTES = GIB  # what a run's data workers want to be free; see mg_tui/engine/run/setup.py
MIN_FREE_BYTES = 10 * GIB  # a model of 3 billion parameters in 16 bits with its first checkpoints
FUTURE_SECONDS = 3600.0  # how far a file may be ahead of the clock: machines that share a volume differ a little
# The first driver of each major version of CUDA, which every later minor version of it accepts:
# https://docs.nvidia.com/deploy/cuda-compatibility
FIRST_DRIVER = {12: 525, 13: 580}
OFF = ("", "none", "void")


@dataclass(frozen=True)
class Facts:
    """What was found.

    Attributes:
        wants_gpu: False when the container was started for the CPU on purpose.
        devices: whether there is a device file of a GPU.
        host_driver: version of the kernel's driver, which every container sees; None without one.
        cuda: highest version of CUDA that the driver's library runs, as (major, minor); None without the library.
        image_cuda: major version of CUDA that the image's torch is built for; None if unknown.
        shared_bytes: size of /dev/shm; None when it is not there.
        home: the folder for runs, caches and models.
        home_problem: why nothing can be written there; None if it can.
        home_free: bytes free there; None when unknown.
        user: who this process is.
        clock: the time, in seconds since 1970.
        built: when the image was built, at the earliest.
        newest: modification time of the newest run; None without runs.
    """

    wants_gpu: bool
    devices: bool
    host_driver: str | None
    cuda: tuple[int, int] | None
    image_cuda: int | None
    shared_bytes: int | None
    home: Path
    home_problem: str | None
    home_free: int | None
    user: int
    clock: float
    built: float
    newest: float | None


def gather(environment: Mapping[str, str], root: Path = Path("/")) -> Facts:
    """The facts of this container.

    Args:
        environment: of process 1.
        root: where /dev, /proc and /usr are.
    """
    home = Path(environment.get("MODEL_GARDEN_HOME", "/data"))
    variant = re.fullmatch(r"cu(\d+)", environment.get("GARDEN_IMAGE_CUDA", ""))
    visible = [environment[name] for name in ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES") if name in environment]
    return Facts(
        wants_gpu=not any(value in OFF for value in visible),
        devices=any((root / "dev" / name).exists() for name in ("nvidiactl", "dxg")),
        host_driver=_host_driver(root / "proc/driver/nvidia/version"),
        cuda=_cuda_of_driver(),
        image_cuda=int(variant[1]) if variant else None,
        shared_bytes=_size(root / "dev/shm"),
        home=home,
        home_problem=_why_not_writable(home),
        home_free=_free(home),
        user=os.geteuid(),
        clock=time.time(),
        built=Path(__file__).stat().st_mtime,
        newest=_newest(home / "runs"),
    )


def find_problems(facts: Facts) -> Iterator[str]:
    """One sentence per problem, with what to do."""
    yield from _gpu_problems(facts)
    if facts.wants_gpu and facts.shared_bytes is not None and facts.shared_bytes < MIN_SHARED_BYTES:
        yield (
            f"Shared memory is {_size_text(facts.shared_bytes)}, too small for images, which take a slower way: "
            "start the container with `--shm-size 8g` (Kubernetes: an emptyDir with `medium: Memory` at /dev/shm)."
        )
    if facts.home_problem:
        advice = "mount a folder of this user there, or start with `--user` and the number of its owner"
        if "read-only" in facts.home_problem:
            advice = "mount it without `:ro`, or with a read-only root mount a volume there"
        yield (
            f"User {facts.user} cannot write to {facts.home} ({facts.home_problem}), so nothing can be kept: {advice}."
        )
    elif facts.home_free is not None and facts.home_free < MIN_FREE_BYTES:
        yield (
            f"Only {_size_text(facts.home_free)} are free in {facts.home}, and a model of 3 billion parameters with "
            "its checkpoints takes 10 GB: mount a larger volume, or make room with `model-garden cache clear` and "
            "`model-garden runs rm`."
        )
    yield from _clock_problems(facts)


def _gpu_problems(facts: Facts) -> Iterator[str]:
    if not facts.wants_gpu:
        return
    toolkit = "install nvidia-container-toolkit on the host and run `nvidia-ctk runtime configure` there"
    if not facts.devices and facts.host_driver:
        yield (
            f"No GPU was given to this container, although the host has driver {facts.host_driver}: start it with "
            f"`--gpus all`; if docker refuses that, {toolkit}."
        )
    elif not facts.devices:
        yield (
            "No GPU was given to this container, so runs use the CPU and are slow: start it with `--gpus all` on a "
            "machine with an NVIDIA GPU, or with `-e NVIDIA_VISIBLE_DEVICES=void` if this is intended."
        )
    elif facts.cuda is None:
        yield f"The GPU is here but the driver's library libcuda.so.1 is not: {toolkit}."
    elif facts.image_cuda in FIRST_DRIVER and facts.cuda[0] < facts.image_cuda:
        needed = FIRST_DRIVER[facts.image_cuda]
        older = next((major for major in sorted(FIRST_DRIVER, reverse=True) if major <= facts.cuda[0]), None)
        instead = f"use the image whose tag ends in -cu{older}, or update" if older else "update"
        yield (
            f"The host's driver{f' {facts.host_driver}' if facts.host_driver else ''} runs CUDA {facts.cuda[0]}."
            f"{facts.cuda[1]} at most and this image is built for CUDA {facts.image_cuda}: {instead} the driver to "
            f"{needed} or later."
        )


def _clock_problems(facts: Facts) -> Iterator[str]:
    set_it = "set the host's clock (`timedatectl set-ntp true`), or downloads fail and runs are listed in a wrong order"
    if facts.clock < facts.built:
        yield f"The clock says {_date(facts.clock)} and this image was built on {_date(facts.built)}: {set_it}."
    elif facts.newest is not None and facts.newest - facts.clock > FUTURE_SECONDS:
        yield f"The clock says {_date(facts.clock)} and the newest run is of {_date(facts.newest)}: {set_it}."


def _host_driver(file: Path) -> str | None:
    with contextlib.suppress(OSError):
        if match := re.search(r"Kernel Module\D*?(?:for \S+ )?\s(\d+\.\d[\d.]*)", file.read_text()):
            return match[1]
    return None


def _cuda_of_driver() -> tuple[int, int] | None:
    with contextlib.suppress(OSError, AttributeError):
        version = ctypes.c_int()
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) == 0:
            return version.value // 1000, version.value % 1000 // 10
    return None


def _size(folder: Path) -> int | None:
    with contextlib.suppress(OSError):
        system = os.statvfs(folder)
        return system.f_blocks * system.f_frsize
    return None


def _free(folder: Path) -> int | None:
    with contextlib.suppress(OSError):
        system = os.statvfs(next(path for path in (folder, *folder.parents) if path.exists()))
        return system.f_bavail * system.f_frsize
    return None


def _why_not_writable(folder: Path) -> str | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return (error.strerror or str(error)).lower()


def _newest(runs: Path) -> float | None:
    with contextlib.suppress(OSError):
        return max((entry.stat().st_mtime for entry in os.scandir(runs)), default=None)
    return None


def _size_text(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def main() -> None:
    problems = list(find_problems(gather(os.environ)))
    for problem in problems:
        print(problem)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

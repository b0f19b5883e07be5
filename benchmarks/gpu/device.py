"""The device that is measured, and what it says of itself; a CPU stands in for it in a dry run."""

import platform
import resource
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

GIB = 2**30
PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "model-garden-tui")


class CudaDevice:
    """The first CUDA device."""

    name = "cuda:0"
    dry = False

    def __init__(self) -> None:
        self.title = torch.cuda.get_device_name(0)

    def settle(self) -> None:
        """Wait for what was begun, give back what is not used, and count the peak from here."""
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def wait(self) -> None:
        """Wait for what was begun."""
        torch.cuda.synchronize()

    def peaks(self) -> dict[str, int | None]:
        """Bytes at the peak: of tensors, and of what the allocator held; and what the driver says is used now."""
        free, total = torch.cuda.mem_get_info()
        return {
            "allocated": torch.cuda.max_memory_allocated(),
            "reserved": torch.cuda.max_memory_reserved(),
            "device_used": total - free,
        }

    def free(self) -> int:
        """Bytes that are free, those the allocator holds for later among them."""
        return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())


class DryRunDevice:
    """A CPU in a GPU's place: everything runs, and no figure means anything."""

    name = "cpu"
    dry = True
    title = "CPU (dry run: no figure means anything)"

    def settle(self) -> None:
        """Nothing to do."""

    def wait(self) -> None:
        """Nothing to do."""

    def peaks(self) -> dict[str, int | None]:
        """Only the highest resident memory so far is known."""
        return {
            "allocated": None,
            "reserved": None,
            "device_used": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }

    def free(self) -> int:
        """As much as it takes."""
        return 64 * GIB


Device = CudaDevice | DryRunDevice


def describe_machine(device: Device) -> dict[str, Any]:
    """The machine and the versions of what runs on it."""
    found: dict[str, Any] = {"device": device.title, "python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    if not device.dry:
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "memory": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
        }
    return found


def measure_nvml(device: Device) -> dict[str, Any]:
    """What Model Garden's own sampler sees of the GPU, before and while 1 GiB more is held on it.

    Raises:
        RuntimeError: NVML tells of no GPU.
    """
    from mg_tui.hardware.sampler import DeviceSampler

    sampler = DeviceSampler()
    try:
        before = sampler.sample()
        if not before.gpus:
            raise RuntimeError(f"no GPU by NVML: {before.why_no_gpu}")
        held = torch.empty(GIB, dtype=torch.uint8, device=device.name)
        device.wait()
        while_held = sampler.sample()
        del held
    finally:
        sampler.close()
    one, other = before.gpus[0], while_held.gpus[0]
    grew = None if one.memory_used is None or other.memory_used is None else other.memory_used - one.memory_used
    return {"gpus": [asdict(gpu) for gpu in while_held.gpus], "grew_by": grew, "expected_about": GIB}

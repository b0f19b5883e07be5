"""Checks of the NVIDIA driver and of every GPU."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mg_tui.core.text import format_gib, one_line
from mg_tui.doctor.findings import MachineFinding
from mg_tui.doctor.torch_build import TorchBuild
from mg_tui.hardware.nvml import NO_DEVICE, Nvml
from mg_tui.hardware.nvml_details import DriverVersions, GpuDetails
from mg_tui.hardware.types import Gpu

# The oldest Linux driver for each major version of CUDA: minor versions are compatible within one (NVIDIA's "CUDA
# Compatibility", table of minimum driver versions).
_OLDEST_DRIVER: Final = {11: 450, 12: 525, 13: 580}
# Builds of torch for CUDA 13 have no kernels for older GPUs: CUDA 13 dropped compute capabilities below 7.5.
_OLDEST_CAPABILITY: Final = {13: (7, 5), 12: (5, 0)}
_BFLOAT16_CAPABILITY: Final = (8, 0)
_HOT_CELSIUS: Final = 90
_LOW_POWER_SHARE: Final = 0.8  # of the default limit
_DRIVER_BYTES: Final = 2 << 30  # a driver's own share of a GPU's memory, at most
_NARROW_LANES: Final = 4
_NVIDIA_VENDOR: Final = "0x10de"
_HARMFUL_THROTTLES: Final = ("hardware slowdown", "power brake", "heat (hardware)", "heat (driver)")


def check_gpus(nvml: Nvml, torch_build: TorchBuild | None, runs: Mapping[int, str]) -> Iterator[MachineFinding]:
    """The findings on driver and GPUs.

    Args:
        nvml: the driver's library, or its stand-in.
        torch_build: the installed torch, where there is one.
        runs: run ids of running workers, by process id.
    """
    gpus, why = nvml.sample()
    if not gpus:
        yield _no_gpu(why or NO_DEVICE)
        return
    versions, details = nvml.read_details()
    yield _check_driver(versions, torch_build)
    by_index = {item.index: item for item in details}
    for gpu in gpus:
        yield from _check_gpu(gpu, by_index.get(gpu.index, GpuDetails(gpu.index)), torch_build, runs)
    if len({gpu.name for gpu in gpus if gpu.problem is None}) > 1:
        names = ", ".join(f"{gpu.index}: {one_line(gpu.name)}" for gpu in gpus)
        hint = "give a run one kind: --gpus with their numbers"
        yield MachineFinding("gpu-kinds", "GPUs", "warning", f"they are of different kinds ({names})", hint)


def has_nvidia_hardware(pci: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether a device of NVIDIA is on the PCI bus, with a driver or without."""
    try:
        return any((device / "vendor").read_text().strip() == _NVIDIA_VENDOR for device in list(pci.iterdir()))
    except OSError:
        return False


def _no_gpu(why: str) -> MachineFinding:
    subject = "NVIDIA driver"
    if "Mismatch" in why or "mismatch" in why:
        hint = "the driver was updated while it was loaded: restart the machine"
        return MachineFinding("driver", subject, "problem", why, hint, for_runs=True)
    if "Permission" in why or "permission" in why:
        hint = "this user or container may not use the GPUs: see the groups and permissions of /dev/nvidia*"
        return MachineFinding("driver", subject, "problem", why, hint, for_runs=True)
    if "respond" in why:
        hint = "run `nvidia-smi`; if it hangs or fails as well, restart the machine or reinstall the driver"
        return MachineFinding("driver", subject, "problem", why, hint, for_runs=True)
    if has_nvidia_hardware():
        hint = "install the NVIDIA driver; in a container, the NVIDIA Container Toolkit and `--gpus all`"
        return MachineFinding("driver", subject, "problem", f"a GPU of NVIDIA is there, but {why}", hint, for_runs=True)
    hint = "the CPU is enough for `demo` and `tiny`; for larger models use a machine with a GPU"
    return MachineFinding("driver", subject, "warning", why, hint)


def _check_driver(versions: DriverVersions, torch_build: TorchBuild | None) -> MachineFinding:
    subject = "NVIDIA driver"
    driver = versions.driver or "of unknown version"
    cuda = torch_build.cuda if torch_build is not None else None
    newest = "" if versions.cuda is None else f", for CUDA up to {versions.cuda[0]}.{versions.cuda[1]}"
    text = f"{driver}{newest}"
    if torch_build is None or (cuda is None and torch_build.problem is None):
        build = "no torch" if torch_build is None else f"torch {torch_build.version}, which is built without CUDA"
        hint = "install a build of torch with CUDA: https://pytorch.org/get-started/locally"
        return MachineFinding("driver", subject, "problem", f"{text}, but {build}", hint, for_runs=True)
    if cuda is not None and versions.cuda is not None and versions.cuda[0] < cuda[0]:
        oldest = _OLDEST_DRIVER.get(cuda[0])
        older = f"cu{versions.cuda[0]}8" if versions.cuda[0] == 12 else f"CUDA {versions.cuda[0]}"
        wanted = f"a driver from {oldest} on" if oldest else f"a newer driver, for CUDA {cuda[0]}"
        hint = f"install {wanted}, or a build of torch for {older} (of the image: the tag -cu{versions.cuda[0]})"
        what = f"{text}; too old for torch {torch_build.version}, built for CUDA {cuda[0]}.{cuda[1]}"
        return MachineFinding("driver", subject, "problem", what, hint, for_runs=True)
    return MachineFinding("driver", subject, "ok", text)


def _check_gpu(
    gpu: Gpu, details: GpuDetails, torch_build: TorchBuild | None, runs: Mapping[int, str]
) -> Iterator[MachineFinding]:
    title = f"GPU {gpu.index}"
    if gpu.problem is not None:
        hint = "restart the machine; if it comes back, look for `NVRM: Xid` in `sudo dmesg` and have the GPU replaced"
        yield MachineFinding("gpu", title, "problem", one_line(gpu.problem), hint, for_runs=True)
        return
    found = [
        *_check_use(gpu, details, runs),
        *_check_kind(title, details, torch_build),
        *_check_memory_errors(gpu, details),
        *_check_speed(gpu, details),
    ]
    if all(finding.level == "ok" for finding in found):
        memory = "" if gpu.memory_total is None else f", {format_gib(gpu.memory_total)}"
        capability = details.capability and f", compute capability {details.capability[0]}.{details.capability[1]}"
        yield MachineFinding("gpu", title, "ok", f"{one_line(gpu.name)}{memory}{capability or ''}, not throttled")
    yield from found


def _check_use(gpu: Gpu, details: GpuDetails, runs: Mapping[int, str]) -> Iterator[MachineFinding]:
    """Who may use the GPU, and who holds its memory."""
    title = f"GPU {gpu.index}"
    if details.compute_mode == "prohibited":
        hint = f"sudo nvidia-smi -i {gpu.index} -c DEFAULT"
        text = "its compute mode allows no process to use it"
        yield MachineFinding("gpu-mode", title, "problem", text, hint, for_runs=True)
    elif details.compute_mode == "exclusive":
        text = "its compute mode allows one process at a time: a run and a chat cannot share it"
        hint = f"sudo nvidia-smi -i {gpu.index} -c DEFAULT"
        yield MachineFinding("gpu-mode", title, "warning", text, hint, for_runs=True)
    if details.mig_enabled and not gpu.mig:
        text = "MIG is enabled, and it has no instances: nothing can use it"
        hint = f"make one (`sudo nvidia-smi mig -cgi 0 -C`), or disable MIG (`sudo nvidia-smi -i {gpu.index} -mig 0`)"
        yield MachineFinding("gpu-mig", title, "problem", text, hint, for_runs=True)
    elif gpu.mig:
        text = f"divided into MIG instances ({len(gpu.mig)}); a process uses one of them"
        hint = f"choose it before the start: CUDA_VISIBLE_DEVICES={one_line(gpu.mig[0].uuid or 'MIG-…')}"
        yield MachineFinding("gpu-mig", title, "warning", text, hint, for_runs=True)
    others = [process for process in gpu.processes if process.pid not in runs and process.run_id is None]
    held = sum(process.memory or 0 for process in others)
    if others and (held > _DRIVER_BYTES or any(process.memory is None for process in others)):
        named = ", ".join(_name_process(process.pid) for process in others[:3])
        text = f"{format_gib(held)} of its memory are held by {named}"
        yield MachineFinding("gpu-memory", title, "warning", text, "end it, or use another GPU", for_runs=True)
    elif not gpu.processes and (gpu.memory_used or 0) > _DRIVER_BYTES and not gpu.mig:
        text = f"{format_gib(gpu.memory_used or 0)} of its memory are held by a process that is not visible here"
        hint = "a process of another container or a dead one: see `nvidia-smi` on the host"
        yield MachineFinding("gpu-memory", title, "warning", text, hint, for_runs=True)


def _name_process(pid: int) -> str:
    from mg_tui.hardware.host import process_name

    name = process_name(pid)
    return f"{one_line(name)} ({pid})" if name else f"process {pid}"


def _check_kind(title: str, details: GpuDetails, torch_build: TorchBuild | None) -> Iterator[MachineFinding]:
    """Whether torch has kernels for the GPU, and whether it has bfloat16."""
    capability = details.capability
    if capability is None:
        return
    shown = f"compute capability {capability[0]}.{capability[1]}"
    cuda = torch_build.cuda if torch_build is not None else None
    oldest = _OLDEST_CAPABILITY.get(cuda[0], (0, 0)) if cuda is not None else (0, 0)
    if cuda is not None and torch_build is not None and capability < oldest:
        text = f"{shown}; torch {torch_build.version} for CUDA {cuda[0]} has kernels from {oldest[0]}.{oldest[1]} on"
        hint = "install a build of torch for CUDA 12" if cuda[0] > 12 else "use a newer GPU"
        yield MachineFinding("gpu-kind", title, "problem", text, hint, for_runs=True)
    elif capability < _BFLOAT16_CAPABILITY:
        text = f"{shown} has no bfloat16 and no flex attention: runs use float16 and attention by blocks"
        yield MachineFinding("bfloat16", title, "warning", text, "lower the learning rate if a loss becomes NaN")


def _check_memory_errors(gpu: Gpu, details: GpuDetails) -> Iterator[MachineFinding]:
    title = f"GPU {gpu.index}"
    if gpu.ecc_errors:
        text = f"{gpu.ecc_errors} uncorrectable memory errors since the driver was loaded: results may be wrong"
        hint = f"reset it (`sudo nvidia-smi --gpu-reset -i {gpu.index}`); if they come back, have it replaced"
        yield MachineFinding("gpu-ecc", title, "problem", text, hint, for_runs=True)
    if details.rows_failed:
        text = "a broken part of its memory can no longer be replaced"
        yield MachineFinding("gpu-ecc", title, "problem", text, "have the GPU replaced, or rent another", for_runs=True)
    elif details.rows_pending:
        text = "a broken part of its memory is replaced at the next reset"
        hint = f"sudo nvidia-smi --gpu-reset -i {gpu.index}, or restart the machine"
        yield MachineFinding("gpu-ecc", title, "warning", text, hint, for_runs=True)
    if details.ecc_enabled is False:
        text = "ECC is off: errors of its memory are not noticed"
        hint = f"sudo nvidia-smi -i {gpu.index} -e 1, then restart"
        yield MachineFinding("gpu-ecc", title, "warning", text, hint)


def _check_speed(gpu: Gpu, details: GpuDetails) -> Iterator[MachineFinding]:
    """Throttling, heat, power limit and the link."""
    title = f"GPU {gpu.index}"
    if harmful := [reason for reason in gpu.throttle_reasons if reason in _HARMFUL_THROTTLES]:
        hint = "better cooling or power supply; a rented machine with it is worth less: rent another"
        text = f"throttled: {', '.join(harmful)}"
        yield MachineFinding("gpu-throttle", title, "warning", text, hint, for_runs=True)
    elif gpu.temperature_c is not None and gpu.temperature_c >= _HOT_CELSIUS:
        text = f"{gpu.temperature_c:.0f} °C: it will soon be throttled"
        yield MachineFinding("gpu-throttle", title, "warning", text, "see to its cooling", for_runs=True)
    elif "power cap" in gpu.throttle_reasons:
        yield MachineFinding("gpu-throttle", title, "ok", "runs at its power limit, as it does under load")
    if gpu.power_limit_w and details.default_limit_w and gpu.power_limit_w < _LOW_POWER_SHARE * details.default_limit_w:
        text = f"its power limit is {gpu.power_limit_w:.0f} W; it comes with {details.default_limit_w:.0f} W"
        hint = f"sudo nvidia-smi -i {gpu.index} -pl {details.default_limit_w:.0f}"
        yield MachineFinding("gpu-power", title, "warning", text, hint)
    width, widest = details.link_width, details.link_width_max
    if width and widest and width < _NARROW_LANES <= widest:
        text = f"its PCIe link has {width} of {widest} lanes: loading is slow, and so is training on several GPUs"
        yield MachineFinding("gpu-link", title, "warning", text, "reseat the card, or rent another machine")

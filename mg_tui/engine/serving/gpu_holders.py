"""Who holds the memory of this machine's GPUs, for errors about a GPU that is full."""

import contextlib

from mg_tui.core.errors import EnvironmentProblem, GardenError

_SHOWN = 4


def with_gpu_holders(error: GardenError) -> GardenError:
    """An error of a full GPU, with who holds its memory; any other as it is."""
    if "GPU" not in error.what or (holders := gpu_holders()) is None:
        return error
    return EnvironmentProblem(error.what, where=error.where, why=holders, hint=error.hint)


def gpu_holders() -> str | None:
    """Which processes hold the memory of the GPUs, the largest first; None when it is not known."""
    import psutil

    from mg_tui.hardware.nvml import Nvml

    nvml = Nvml()
    try:
        gpus, _why = nvml.sample()
    finally:
        nvml.close()
    held = [(process.memory or 0, process.pid) for gpu in gpus for process in gpu.processes]
    texts = []
    for memory, pid in sorted(held, reverse=True)[:_SHOWN]:
        name = "?"
        with contextlib.suppress(psutil.Error):
            name = psutil.Process(pid).name()
        texts.append(f"process {pid} ({name}) holds {memory / 2**30:.1f} GiB")
    return ", ".join(texts) or None

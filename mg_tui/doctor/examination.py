"""All checks of the machine, in the order in which they are shown; and those that matter to a run."""

import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mg_tui.doctor import gpu_checks, machine_checks, software_checks
from mg_tui.doctor.findings import MachineFinding, guarded
from mg_tui.doctor.hub_checks import HubQuestion, check_hub
from mg_tui.doctor.torch_build import find_torch_build
from mg_tui.hardware.nvml import Nvml

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec


def examine_machine(home: Path, cache: Path, *, nvml: Nvml | None = None) -> list[MachineFinding]:
    """Every check that needs no torch; takes less than three seconds, without network too.

    Args:
        home: folder of runs.
        cache: folder of downloads.
        nvml: the driver's library; by default a new one.
    """
    question = HubQuestion()
    build = find_torch_build()
    gpu_findings = guarded(lambda: gpu_checks.check_gpus(nvml or Nvml(), build, _running_workers(home)), "GPUs")
    gpu = any(finding.check.startswith("gpu") for finding in gpu_findings)
    return [
        *guarded(software_checks.check_python, "Python"),
        *guarded(lambda: software_checks.check_torch(build), "torch"),
        *gpu_findings,
        *guarded(partial(software_checks.check_compiler, gpu=gpu), "C compiler"),
        *guarded(partial(software_checks.check_accelerators, gpu=gpu), "packages"),
        *guarded(lambda: machine_checks.check_disk(home, cache), "disk"),
        *guarded(machine_checks.check_memory, "memory"),
        *guarded(machine_checks.check_limits, "limits"),
        *guarded(lambda: machine_checks.check_login(os.environ), "login"),
        *guarded(lambda: machine_checks.check_terminal(os.environ), "terminal"),
        *guarded(software_checks.check_plugins, "plugins"),
        *guarded(lambda: software_checks.check_engines(cache), "engines"),
        *guarded(lambda: check_hub(question.answer()), "Hugging Face Hub"),
        *guarded(lambda: machine_checks.check_clock(time.time(), question.answer().time), "clock"),
    ]


def findings_for_run(
    spec: "TrainingSpec", home: Path, cache: Path, *, nvml: Nvml | None = None
) -> tuple[MachineFinding, ...]:
    """The warnings and problems that matter to a run of `spec`; GPUs do not matter to one on the CPU."""
    build = find_torch_build()
    found = guarded(lambda: machine_checks.check_disk(home, cache), "disk")
    found += guarded(machine_checks.check_limits, "limits")
    found += guarded(lambda: machine_checks.check_login(os.environ), "login")
    if spec.device != "cpu":
        gpus = guarded(lambda: gpu_checks.check_gpus(nvml or Nvml(), build, _running_workers(home)), "GPUs")
        gpu = any(finding.check.startswith("gpu") for finding in gpus)
        found += gpus
        if gpu and spec.attention in ("auto", "flex"):
            found += guarded(partial(software_checks.check_compiler, gpu=gpu), "C compiler")
        if gpu and spec.workers != 0:
            found += guarded(machine_checks.check_memory, "memory")
        if gpu and spec.quantization != "none":
            found += guarded(partial(software_checks.check_accelerators, gpu=gpu), "packages")
    return tuple(finding for finding in found if finding.for_runs and finding.level != "ok")


def _running_workers(home: Path) -> Mapping[int, str]:
    """Run ids of the running workers under `home`, by process id."""
    from mg_tui.runs.store import list_running

    return {run.view.pid: run.id for run in list_running(home) if run.view.pid}

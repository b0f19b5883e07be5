"""A queued run on a machine whose GPUs somebody else uses: the real waiting process, NVIDIA's binding, and a small
library in C that stands in for the driver's.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mg_tui.runs import devices, launch, queue
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState

COMPILER = shutil.which("gcc") or shutil.which("cc")
SOURCE = Path(__file__).parent.parent / "hardware" / "fake_nvml.c"
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


def test_somebody_elses_processes_are_waited_for_and_named(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    assert COMPILER is not None
    library, state = tmp_path / "libnvidia-ml.so.1", tmp_path / "state"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
    state.write_text("ok")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("NVML_FAKE", str(state))
    monkeypatch.setenv("NVML_PID", str(os.getpid()))
    queue.enqueue(folder, devices.parse_devices("any"), "a test")
    pid = launch.start_waiter(folder)
    try:
        until(lambda: queue.read_state(folder)[1] is not None)
        said = str(queue.read_state(folder)[1])
        assert "GPU 0: used by" in said
        assert "GPU 1: used by a process not visible here (11.0 GiB)" in said
        assert queue.read_state(folder)[0] is RunState.QUEUED
        state.write_text("none")  # the GPUs are gone, and the CPU is the one device
        until(lambda: queue.read_state(folder)[0] is not RunState.QUEUED, 60)
        assert (folder.path / "devices.json").read_text() == '{"asked": ["any"], "used": ["cpu"]}\n'
    finally:
        os.killpg(pid, signal.SIGKILL)

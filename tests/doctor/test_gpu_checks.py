"""The lines on driver and GPUs, by NVIDIA's own binding against the stand-in for the driver's library."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mg_tui.doctor import gpu_checks
from mg_tui.doctor.gpu_checks import check_gpus
from mg_tui.doctor.torch_build import TorchBuild

FAKE = Path(__file__).parents[1] / "hardware/fake_nvml.c"
COMPILER = shutil.which("gcc") or shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")

# What each state of the driver or of the first GPU has to say: check, level, a part of the text, a part of the hint.
SICK = {
    "nodriver": ("driver", "problem", "Driver Not Loaded", "nvidia-smi"),
    "mismatch": ("driver", "problem", "version mismatch", "restart the machine"),
    "nopermission": ("driver", "problem", "Permission", "/dev/nvidia"),
    "none": ("driver", "warning", "reports no GPU", "CPU"),
    "olddriver": ("driver", "problem", "too old for torch 2.15.0", "from 580 on"),
    "ancient": ("driver", "problem", "470.82.01", "from 580 on"),
    "lost": ("gpu", "problem", "no response", "Xid"),
    "prohibited": ("gpu-mode", "problem", "no process", "-c DEFAULT"),
    "exclusive": ("gpu-mode", "warning", "one process at a time", "-c DEFAULT"),
    "migempty": ("gpu-mig", "problem", "no instances", "-mig 0"),
    "mig": ("gpu-mig", "warning", "MIG instances (1)", "CUDA_VISIBLE_DEVICES=GPU-0002"),
    "ok": ("gpu-memory", "warning", "held by", "another GPU"),
    "hidden": ("gpu-memory", "warning", "70.0 GiB", "on the host"),
    "volta": ("bfloat16", "warning", "7.5 has no bfloat16", "learning rate"),
    "pascal": ("gpu-kind", "problem", "6.1", "CUDA 12"),
    "hot": ("gpu-ecc", "problem", "3 uncorrectable", "--gpu-reset -i 0"),
    "pending": ("gpu-ecc", "warning", "next reset", "--gpu-reset"),
    "worn": ("gpu-ecc", "problem", "no longer be replaced", "replaced"),
    "eccoff": ("gpu-ecc", "warning", "ECC is off", "-e 1"),
    "slowdown": ("gpu-throttle", "warning", "hardware slowdown", "cooling"),
    "warm": ("gpu-throttle", "warning", "heat (driver)", "cooling"),
    "brake": ("gpu-throttle", "warning", "power brake", "power supply"),
    "boiling": ("gpu-throttle", "warning", "93 °C", "cooling"),
    "lowlimit": ("gpu-power", "warning", "300 W", "-pl 700"),
    "narrow": ("gpu-link", "warning", "1 of 16 lanes", "reseat"),
    "mixed": ("gpu-kinds", "warning", "0: Other GPU, 1: Fake GPU 1", "--gpus"),
}
HEALTHY = ("idle", "capped", "pair")

SCRIPT = """
import dataclasses, json, os, sys
from pathlib import Path
from mg_tui.doctor.gpu_checks import check_gpus
from mg_tui.doctor.torch_build import TorchBuild
from mg_tui.hardware.nvml import Nvml
build = TorchBuild("2.15.0", (13, 2))
found = {}
for word in sys.argv[1:]:
    Path(os.environ["NVML_FAKE"]).write_text(word)
    os.environ["NVML_PID"] = str(os.getpid())
    nvml = Nvml()
    found[word] = [dataclasses.asdict(finding) for finding in check_gpus(nvml, build, {})]
    nvml.close()
print(json.dumps(found))
"""

Lines = dict[str, list[dict[str, str]]]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    """The findings in every state, from one process."""
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    assert COMPILER is not None
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", str(library), str(FAKE)], check=True)
    environ = {**os.environ, "LD_LIBRARY_PATH": str(folder), "NVML_FAKE": str(folder / "state"), "NVML_PID": "1"}
    command = [sys.executable, "-c", SCRIPT, *SICK, *HEALTHY]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: Lines = json.loads(done.stdout)
    return found


@needs_compiler
@pytest.mark.parametrize("word", SICK)
def test_every_sick_state_has_its_line(lines: Lines, word: str) -> None:
    check, level, text, hint = SICK[word]
    found = [line for line in lines[word] if line["check"] == check and text in line["text"]]
    assert found and len({line["subject"] for line in found}) == len(found), lines[word]
    found = [line for line in found if line["subject"] != "GPU 1"] or found
    assert {line["level"] for line in found} == {level}
    assert hint in found[0]["hint"]


@needs_compiler
@pytest.mark.parametrize("word", SICK)
def test_a_state_has_no_line_of_another(lines: Lines, word: str) -> None:
    """Apart from the held memory and the two names that the stand-in has, only the state's own checks are not ok."""
    bad = {line["check"] for line in lines[word] if line["level"] != "ok"}
    allowed = {SICK[word][0], "gpu-memory", "gpu-kinds"} | {"hot": {"gpu-throttle"}, "pascal": {"bfloat16"}}.get(
        word, set()
    )
    assert bad <= allowed


@needs_compiler
def test_a_healthy_gpu_is_ok(lines: Lines) -> None:
    driver, first, second, kinds = lines["idle"]
    assert driver["text"] == "580.65.06, for CUDA up to 13.0"
    assert [line["level"] for line in (driver, first, second)] == ["ok"] * 3
    assert first["text"] == "Fake GPU 0, 80.0 GiB, compute capability 9.0, not throttled"
    assert kinds["check"] == "gpu-kinds"
    assert [line["check"] for line in lines["pair"] if line["check"] == "gpu-kinds"] == []
    assert [line["level"] for line in lines["capped"] if line["check"] == "gpu-throttle"] == ["ok"]


class NoGpu:
    """A driver that reports no GPU, with a reason."""

    def __init__(self, why: str):
        self.why = why

    def sample(self) -> tuple[tuple[()], str]:
        return (), self.why


def test_a_gpu_without_a_driver_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "has_nvidia_hardware", lambda: True)
    (found,) = check_gpus(NoGpu("no NVIDIA driver"), TorchBuild("2.15.0", (13, 2)), {})  # type: ignore[arg-type]
    assert found.level == "problem" and "--gpus all" in (found.hint or "") and found.for_runs


def test_hardware_is_found_by_its_vendor(tmp_path: Path) -> None:
    assert not gpu_checks.has_nvidia_hardware(tmp_path / "nothing")
    (tmp_path / "0000:00:01.0").mkdir()
    (tmp_path / "0000:00:01.0/vendor").write_text("0x8086\n")
    assert not gpu_checks.has_nvidia_hardware(tmp_path)
    (tmp_path / "0000:00:02.0").mkdir()
    (tmp_path / "0000:00:02.0/vendor").write_text("0x10de\n")
    assert gpu_checks.has_nvidia_hardware(tmp_path)

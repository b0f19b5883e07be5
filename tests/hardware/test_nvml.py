"""NVIDIA's own binding against a small library in C that stands in for the driver's, in processes of their own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
COMPILER = shutil.which("gcc") or shutil.which("cc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")

# `sample(word)` puts the driver into a state and samples; the samples are printed as JSON.
SCRIPT = """
import dataclasses, json, os, sys
from pathlib import Path
from mg_tui.hardware import nvml
from mg_tui.hardware.sampler import DeviceSampler
sampler = DeviceSampler(lambda: {os.getpid(): "our-run"})
os.environ["NVML_PID"] = str(os.getpid())
found = []
def sample(word):
    Path(os.environ["NVML_FAKE"]).write_text(word)
    found.append(dataclasses.asdict(sampler.sample()))
"""

Samples = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    """Run a script against the stand-in and return what it sampled."""

    def run(body: str, *flags: str) -> list[dict[str, Any]]:
        library = tmp_path / "libnvidia-ml.so.1"
        assert COMPILER is not None
        source = str(HERE / "fake_nvml.c")
        subprocess.run([COMPILER, "-shared", "-fPIC", *flags, "-o", str(library), source], check=True)
        environ = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "NVML_FAKE": str(tmp_path / "state")}
        code = f"{SCRIPT}\n{body}\nprint(json.dumps(found))"
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    return run


def test_everything_a_gpu_says(samples: Samples) -> None:
    (found,) = samples("sample('ok')")
    assert found["why_no_gpu"] is None
    first, second = found["gpus"]
    ours, other = first.pop("processes")
    assert first == {
        "index": 0,
        "name": "Fake GPU 0",
        "uuid": "GPU-0000",
        "utilization": 50.0,
        "memory_used": 10 << 30,
        "memory_total": 80 << 30,
        "power_w": 123.456,
        "power_limit_w": 700.0,
        "temperature_c": 40,
        "energy_j": 5.0,
        "problem": None,
        "clock_mhz": 1200,
        "clock_max_mhz": 1980,
        "throttle_reasons": [],
        "ecc_errors": 0,
        "mig": [],
    }
    assert (second["index"], second["energy_j"], second["processes"]) == (1, None, [])
    assert (ours["memory"], ours["run_id"]) == (7 << 30, "our-run")
    assert ours["name"].startswith("python")
    assert other == {"pid": 4194305, "memory": None, "name": None, "run_id": None}


def test_what_slows_a_gpu_down_and_what_is_wrong_with_it(samples: Samples) -> None:
    (found,) = samples("sample('hot')")
    first, second = found["gpus"]
    assert first["throttle_reasons"] == ["power cap", "heat (hardware)"]
    assert (first["ecc_errors"], second["ecc_errors"]) == (3, None)
    assert second["throttle_reasons"] == []


def test_an_older_driver_knows_the_reasons_by_another_name(samples: Samples) -> None:
    name = "nvmlDeviceGetCurrentClocks"
    (found,) = samples("sample('hot')", f"-D{name}EventReasons={name}ThrottleReasons")
    assert found["gpus"][0]["throttle_reasons"] == ["power cap", "heat (hardware)"]


def test_a_gpu_in_parts(samples: Samples) -> None:
    (found,) = samples("sample('mig')")
    whole, parted = found["gpus"]
    assert whole["mig"] == []
    (part,) = parted["mig"]
    assert (part["index"], part["name"], part["uuid"]) == (1, "Fake GPU 2", "GPU-0002")
    assert (part["memory_used"], part["memory_total"]) == (12 << 30, 80 << 30)


def test_a_driver_that_knows_little(samples: Samples) -> None:
    (found,) = samples("sample('ok')", "-DBARE")
    first = found["gpus"][0]
    assert (first["name"], first["problem"], first["processes"]) == ("GPU 0", None, [])
    assert {first[key] for key in ("uuid", "utilization", "memory_used", "power_w", "temperature_c")} == {None}


def test_an_older_driver_still_tells_whose_memory_it_is(samples: Samples) -> None:
    name = "nvmlDeviceGetComputeRunningProcesses"
    (found,) = samples("sample('ok')", f"-D{name}_v3={name}_v2")
    assert [process["run_id"] for process in found["gpus"][0]["processes"]] == ["our-run", None]


def test_a_lost_gpu_does_not_hide_the_other(samples: Samples) -> None:
    before, lost, after = samples("sample('ok'); sample('lost'); sample('ok')")
    assert lost["gpus"][0] == before["gpus"][0]
    assert "lost" in lost["gpus"][1]["problem"].lower()
    assert lost["why_no_gpu"] is None
    assert after["gpus"] == before["gpus"]


def test_a_driver_that_vanishes_and_comes_back(samples: Samples) -> None:
    again = "nvml._RETRY_SECONDS = 0; sampler._nvml._try_at = 0"
    body = f"sample('ok'); sample('gone'); sample('ok'); {again}; sample('gone'); sample('ok')"
    before, gone, too_soon, still_gone, back = samples(body)
    assert "stopped responding" in gone["why_no_gpu"]
    assert gone["gpus"] == too_soon["gpus"] == still_gone["gpus"] == []
    assert too_soon["why_no_gpu"] == gone["why_no_gpu"]
    assert "does not respond" in still_gone["why_no_gpu"]
    assert back == {**back, "gpus": before["gpus"], "why_no_gpu": None}
    assert gone["host"]["ram_total"] > 0


def test_a_driver_that_was_lost_is_asked_again_after_a_while(samples: Samples) -> None:
    body = """
now = 1000.0
nvml.time = type("Clock", (), {"monotonic": staticmethod(lambda: now)})
for word, later in (("ok", 0), ("gone", 1), ("ok", 1), ("gone", 60), ("ok", 1), ("ok", 60)):
    now += later
    sample(word)
"""
    before, lost, too_soon, still_gone, too_soon_again, back = samples(body)
    assert [len(found["gpus"]) for found in (before, lost, too_soon, still_gone, too_soon_again)] == [2, 0, 0, 0, 0]
    assert "does not respond" in still_gone["why_no_gpu"]
    assert (back["gpus"], back["why_no_gpu"]) == (before["gpus"], None)


@pytest.mark.parametrize(
    ("word", "says"), [("none", "reports no GPU"), ("nodriver", "does not respond: Driver Not Loaded")]
)
def test_no_gpu_says_why(samples: Samples, word: str, says: str) -> None:
    (found,) = samples(f"sample({word!r})")
    assert found["gpus"] == []
    assert says in found["why_no_gpu"]


def test_closing_lets_go_and_sampling_opens_again(samples: Samples) -> None:
    body = "sample('ok'); sampler.close(); sampler.close(); sampler._nvml._try_at = 0; sample('ok')"
    first, second = samples(body)
    assert first["gpus"] == second["gpus"]


def test_no_library_says_so(tmp_path: Path) -> None:
    code = "from mg_tui.hardware.sampler import DeviceSampler; print(DeviceSampler().sample().why_no_gpu)"
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    environ = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    if "None" not in done.stdout:  # a machine with a driver finds the real one elsewhere
        assert "libnvidia-ml" in done.stdout


def test_no_binding_says_so() -> None:
    code = (
        "import sys; sys.modules['pynvml'] = None\n"
        "from mg_tui.hardware.sampler import DeviceSampler\n"
        "sampler = DeviceSampler(); sampler.sample(); print(sampler.sample().why_no_gpu)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "nvidia-ml-py is not installed" in done.stdout

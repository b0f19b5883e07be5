"""Energy of GPUs: NVIDIA's own binding against the stand-in for its driver, and what is summed from it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mg_tui.hardware.energy import EnergyMeter

COMPILER = shutil.which("gcc") or shutil.which("cc")

# `at(seconds, "ok MILLIJOULES MILLIWATTS")` reads every meter then; what they say is printed as JSON.
SCRIPT = """
import json, os
from pathlib import Path
from mg_tui.hardware.energy import EnergyMeter
from mg_tui.hardware.nvml import Nvml
moment, found, meters, nvml = [0.0], [], [], Nvml()
def state(word):
    Path(os.environ["NVML_FAKE"]).write_text(word)
def meter(*uuids):
    meters.append(EnergyMeter(uuids, nvml, lambda: moment[0]))
def at(seconds, word):
    moment[0] = seconds
    state(word)
    found.append([one.read() for one in meters])
"""


@pytest.fixture
def readings(tmp_path: Path) -> Callable[..., list[list[float | None]]]:
    def run(body: str, *flags: str) -> list[list[float | None]]:
        if COMPILER is None:
            pytest.skip("no C compiler")
        source = str(Path(__file__).with_name("fake_nvml.c"))
        library = str(tmp_path / "libnvidia-ml.so.1")
        subprocess.run([COMPILER, "-shared", "-fPIC", *flags, "-o", library, source], check=True)
        environ = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "NVML_FAKE": str(tmp_path / "state")}
        code = f"{SCRIPT}\n{body}\nprint(json.dumps(found))"
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: list[list[float | None]] = json.loads(done.stdout)
        return found

    return run


def test_a_counter_is_believed_and_power_is_added_up(readings: Callable[..., list[list[float | None]]]) -> None:
    body = (
        "state('ok 5000 100000'); meter('GPU-0000'); meter('GPU-0001'); meter('GPU-0000', 'GPU-0001')\n"
        "at(10, 'ok 9000 200000'); at(20, 'ok 9500 200000')"
    )
    # The second has no counter: 10 s at 100 W to 200 W, then 10 s at 200 W.
    assert readings(body) == [[4.0, 1500.0, 1504.0], [4.5, 3500.0, 3504.5]]


def test_a_driver_that_goes_and_comes_back(readings: Callable[..., list[list[float | None]]]) -> None:
    body = (
        "state('ok 5000 100000'); meter('GPU-0000'); at(10, 'ok 6000 100000'); at(20, 'gone')\n"
        "at(30, 'ok 9000 100000'); at(40, 'ok 10 100000')"
    )
    # What it used while it did not answer is in its counter; one that began anew gives way to the power.
    assert readings(body) == [[1.0], [1.0], [4.0], [1004.0]]


def test_who_tells_nothing_is_not_guessed_at(readings: Callable[..., list[list[float | None]]]) -> None:
    assert readings("state('ok'); meter('GPU-0000'); at(10, 'ok')", "-DBARE") == [[None]]
    assert readings("state('ok'); meter('GPU-0000', 'GPU-9999'); at(10, 'ok')") == [[None]]
    assert readings("state('nodriver'); meter('GPU-0000'); at(10, 'ok')") == [[None]]


def test_no_gpu_is_no_energy() -> None:
    class Never:
        def read_energy(self, uuid: str) -> tuple[float | None, float | None]:
            raise AssertionError

    assert EnergyMeter([], Never()).read() is None

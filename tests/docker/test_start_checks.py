"""What a container says about itself when it starts."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.docker.conftest import CONTAINER

CHECKS = CONTAINER / "start_checks.py"
NOW = 1_800_000_000.0


@pytest.fixture
def checks(container):
    return container["start_checks"]


@pytest.fixture
def healthy(checks, tmp_path):
    return checks.Facts(
        wants_gpu=True,
        devices=True,
        host_driver="580.65.06",
        cuda=(13, 0),
        image_cuda=13,
        shared_bytes=8 << 30,
        home=tmp_path,
        home_problem=None,
        home_free=500 << 30,
        user=1000,
        clock=NOW,
        built=NOW - 86400,
        newest=NOW - 60,
    )


def test_a_healthy_container_says_nothing(checks, healthy) -> None:
    assert list(checks.find_problems(healthy)) == []


@pytest.mark.parametrize(
    ("changes", "said", "to_do"),
    [
        ({"devices": False, "host_driver": None, "cuda": None}, "No GPU was given", "--gpus all"),
        ({"devices": False, "cuda": None}, "host has driver 580.65.06", "install nvidia-container-toolkit"),
        ({"cuda": None}, "libcuda.so.1 is not", "nvidia-ctk runtime configure"),
        ({"cuda": (12, 4), "host_driver": "550.54.14"}, "driver 550.54.14 runs CUDA 12.4 at most", "ends in -cu12"),
        ({"cuda": (11, 8), "host_driver": None}, "driver runs CUDA 11.8", "update the driver to 580 or later"),
        ({"cuda": (11, 8), "image_cuda": 12}, "built for CUDA 12: update", "525 or later"),
        ({"shared_bytes": 64 << 20}, "Shared memory is 67 MB", "--shm-size 8g"),
        ({"home_problem": "permission denied"}, "User 1000 cannot write", "--user"),
        ({"home_problem": "read-only file system"}, "(read-only file system)", "without `:ro`"),
        ({"home_free": 3 * 10**9}, "Only 3.0 GB are free", "model-garden cache clear"),
        ({"clock": 0.0}, "The clock says 1970-01-01 00:00 and this image was built on 2027", "timedatectl"),
        ({"newest": NOW + 9000}, "and the newest run is of 2027-01-15 10:30", "timedatectl"),
    ],
)
def test_one_sentence_says_what_is_wrong_and_what_to_do(checks, healthy, changes, said, to_do) -> None:
    (problem,) = checks.find_problems(replace(healthy, **changes))
    assert said in problem and to_do in problem
    assert "\n" not in problem and problem.endswith(".")


@pytest.mark.parametrize(
    "changes",
    [
        {"wants_gpu": False, "devices": False, "cuda": None, "shared_bytes": 64 << 20},
        {"cuda": (14, 0)},  # a newer driver runs older builds
        {"cuda": (13, 0), "image_cuda": 12},
        {"image_cuda": None, "cuda": (12, 4)},
        {"newest": NOW + 60},  # machines that share a volume differ a little
        {"shared_bytes": None},
    ],
)
def test_what_works_is_not_reported(checks, healthy, changes) -> None:
    assert list(checks.find_problems(replace(healthy, **changes))) == []


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n", "550.54.14"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n", "580.65.06"),
        ("something else\n", None),
    ],
)
def test_the_host_driver_is_read_from_the_kernel(checks, tmp_path, text, version) -> None:
    file = tmp_path / "proc/driver/nvidia/version"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    environment = {"MODEL_GARDEN_HOME": str(tmp_path / "home"), "GARDEN_IMAGE_CUDA": "cu13"}
    facts = checks.gather(environment, tmp_path)
    assert (facts.host_driver, facts.image_cuda, facts.devices, facts.wants_gpu) == (version, 13, False, True)
    assert facts.home_problem is None and facts.home_free > 0 and facts.newest is None


@pytest.mark.parametrize("value", ["void", "none", ""])
def test_no_gpu_is_asked_for_where_none_is_wanted(checks, tmp_path, value) -> None:
    assert not checks.gather({"NVIDIA_VISIBLE_DEVICES": value, "MODEL_GARDEN_HOME": str(tmp_path)}, tmp_path).wants_gpu


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
def test_the_cuda_of_the_driver_is_asked_of_its_library(tmp_path: Path) -> None:
    source = tmp_path / "cuda.c"
    source.write_text("int cuDriverGetVersion(int *version) { *version = 12040; return 0; }\n")
    subprocess.run(["gcc", "-shared", "-o", tmp_path / "libcuda.so.1", source], check=True)
    script = f"import sys; sys.path.insert(0, {str(CONTAINER)!r}); import start_checks as s; print(s._cuda_of_driver())"
    done = subprocess.run(
        [sys.executable, "-c", script], env={"LD_LIBRARY_PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.stdout == "(12, 4)\n", done.stderr


def test_the_program_prints_problems_and_exits_with_1(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    ahead = time.time() + 86400
    (runs / "one").mkdir()
    os.utime(runs / "one", (ahead, ahead))
    environment = {"MODEL_GARDEN_HOME": str(tmp_path), "NVIDIA_VISIBLE_DEVICES": "void"}
    done = subprocess.run([sys.executable, "-IS", CHECKS], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "the newest run is of" in done.stdout, done.stderr

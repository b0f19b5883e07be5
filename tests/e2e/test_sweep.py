"""Real sweeps of the tiny model: killed and resumed, with and without shared features, and the page about them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.test_tutorial import BLOCK, appears

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sweeps.md"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Garden = Callable[..., str]


@pytest.fixture
def garden(tmp_path: Path) -> Garden:
    """Runs a command of the program in a folder with eight rows."""
    rows = []
    for number in range(8):
        Image.effect_noise((224, 224), 40 + number).convert("RGB").save(tmp_path / f"{number}.png")
        rows.append({"text": f"what is {number}?", "image": f"{number}.png", "response": f"{number} is grainy"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MODEL_GARDEN_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MODEL_GARDEN_HOME": str(tmp_path / "home"),
        "MODEL_GARDEN_CONFIG": str(tmp_path / "none.toml"),
        "MODEL_GARDEN_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "160",
    }

    def run(*arguments: str, code: int = 0) -> str:
        command = ["model-garden", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run


def processes_of(home: Path) -> list[int]:
    """Every process that works in a home: drivers, waiting processes and workers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{home}/".encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def kill_everything(home: Path) -> None:
    while pids := processes_of(home):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def show(garden: Garden, name: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(garden("sweep", "show", name, "--json"))
    return shown


def wait(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.2)


SIX = (
    *("sweep", "rows.jsonl", "--base-model", "tiny", "--over", "learning_rate=1e-4,5e-4,2e-3", "--over", "lora_r=2,4"),
    *("--max-steps", "12", "--eval-split", "0.25", "--eval-steps", "4", "--save-steps", "4", "--sample-count", "0"),
    *("--workers", "0", "--keep", "2", "--after", "8", "--detach"),
)


def steps_done(home: Path) -> int:
    journals = (path.read_bytes() for path in home.glob("runs/*/events.jsonl"))
    return sum(journal.count(b'"kind":"step"') for journal in journals)


def test_six_runs_killed_twice_end_as_undisturbed_ones(garden: Garden, tmp_path: Path) -> None:
    home = tmp_path / "home"
    try:
        garden(*SIX, "--name", "whole")
        wait(lambda: show(garden, "whole")["done"])
        before = steps_done(home)
        garden(*SIX, "--name", "killed")
        for steps in (10, 34):  # in the second run, and in the fifth
            wait(lambda steps=steps: steps_done(home) - before >= steps)  # type: ignore[misc]
            kill_everything(home)
            assert not show_without_waking(home, "killed")["done"]
            garden("sweep", "resume", "killed", "--detach")
        wait(lambda: show(garden, "killed")["done"])
    finally:
        kill_everything(home)
    whole, killed = show(garden, "whole"), show(garden, "killed")
    assert [run["score"] for run in killed["runs"]] == [run["score"] for run in whole["runs"]]
    assert [run["rank"] for run in killed["runs"]] == [run["rank"] for run in whole["runs"]]
    assert [run["state_text"] for run in killed["runs"]].count("finished") == 2
    assert [run["state_text"] for run in killed["runs"]].count("given up after step 8") == 4
    table = garden("sweep", "show", "killed")
    best = next(run for run in killed["runs"] if run["rank"] == 1)
    assert re.search(rf"^ +1 +{best['number']} .*{best['score']:.4g} .*finished$", table, re.MULTILINE)
    assert f"Best by loss: run {best['number']}" in table


def show_without_waking(home: Path, name: str) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((home / "sweeps" / name / "state.json").read_text())
    return state


def test_time_with_and_without_shared_features(garden: Garden, tmp_path: Path) -> None:
    """The second run reads what the first one encoded; the times are printed, and not asserted."""
    home = tmp_path / "home"
    common = (*SIX[:4], "--over", "lora_r=2,4,8", "--epochs", "1", "--sample-count", "0", "--workers", "0")
    encoded, seconds = {}, {}
    for cache in ("off", "on"):
        began = time.monotonic()
        garden(*common, "--vision-cache", cache, "--name", f"cache-{cache}")
        seconds[cache] = time.monotonic() - began
        shown = show(garden, f"cache-{cache}")
        encoded[cache] = [
            sum(
                json.loads(line)["images_encoded"]
                for line in (Path(run["path"]) / "events.jsonl").read_text().splitlines()
                if '"kind":"step"' in line
            )
            for run in shown["runs"]
        ]
        assert [run["state"] for run in shown["runs"]] == ["finished"] * 3
    kill_everything(home)
    print({"images encoded": encoded, "seconds": seconds})
    assert all(count > 0 for count in encoded["off"])
    assert encoded["on"][0] > 0 and encoded["on"][1:] == [0, 0]


def test_the_page(tmp_path: Path) -> None:
    """docs/sweeps.md: its example and the commands at its end, run as they stand."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MODEL_GARDEN_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MODEL_GARDEN_HOME": str(tmp_path / "home"),
        "MODEL_GARDEN_CONFIG": str(tmp_path / "none.toml"),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "200",
    }
    output = ""
    for kind, text in BLOCK.findall(PAGE.read_text()):
        if kind == "bash":
            command = ["bash", "-euo", "pipefail", "-c", text]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
            output = done.stdout
            assert done.returncode == 0, f"{text}\n{output}\n{done.stderr}"
        else:
            assert [line for line in text.splitlines() if not appears(line, output)] == [], output
    assert not list((tmp_path / "home" / "sweeps").iterdir())

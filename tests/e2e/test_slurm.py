"""A real Slurm on the loopback interface: a job is submitted, runs out of time, is requeued, and finishes.

Needs root and Debian's slurmctld, slurmd, slurm-client and munge; skipped without them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "munged")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(MISSING) or os.geteuid() != 0, reason=f"needs root and {', '.join(MISSING) or 'Slurm'}"),
]


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("slurm")
    script = ROOT / "scripts" / "local_slurm.sh"
    monkeypatch.setenv("LOCAL_SLURM_PORT", "16827")
    subprocess.run([script, "start", folder], check=True, timeout=120)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    yield folder
    subprocess.run(["scancel", "--user=root"], check=False)
    subprocess.run([script, "stop", folder], check=True, timeout=120)


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    Image.new("RGB", (56, 56), "red").save(tmp_path / "a.png")
    rows = [{"text": f"what is {n}?", "image": "a.png", "response": f"{n} is red"} for n in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, value in (
        ("MODEL_GARDEN_CONFIG", tmp_path / "none.toml"),
        ("MODEL_GARDEN_CACHE", tmp_path / "cache"),
        ("HF_HUB_OFFLINE", "1"),
        ("OMP_NUM_THREADS", "1"),
        ("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}"),
    ):
        monkeypatch.setenv(name, str(value))

    def run(*arguments: str) -> str:
        command = ["model-garden", "--home", str(tmp_path / "home"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def wait(condition: Callable[[], object], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.25)


def events(home: Path, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for journal in home.glob("runs/*/events.jsonl"):
        found += [json.loads(line) for line in journal.read_text().splitlines() if f'"kind":"{kind}"' in line]
    return found


def test_out_of_time_a_checkpoint_requeued_and_finished(
    slurm: Path, garden: Callable[..., str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    job = garden(
        *("launch", "slurm", "--base-model", "tiny", "--dataset", "rows.jsonl", "--name", "requeued"),
        *("--device", "cpu", "--max-steps", "40", "--save-steps", "1000", "--sample-count", "0", "--workers", "0"),
        *("--hours", "1", "--detach"),
    ).strip()
    wait(lambda: len(events(home, "step")) >= 2)
    # What Slurm itself sends 120 seconds before the limit, which is at least a minute away.
    subprocess.run(["scancel", "--signal=USR1", "--batch", job], check=True)
    wait(lambda: events(home, "stopped"))
    (stopped,) = events(home, "stopped")
    assert 2 <= stopped["step"] < 40 and stopped["checkpoint"] == f"checkpoints/step-{stopped['step']:06d}"
    wait(lambda: "Restarts=1" in scontrol(job))
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)  # it waits two minutes else
    wait(lambda: events(home, "finished"))
    assert [event["resumed_from"] for event in events(home, "started")] == [None, stopped["step"]]
    assert [event["step"] for event in events(home, "step")] == list(range(1, 41))
    wait(lambda: "JobState=COMPLETED" in scontrol(job))
    assert json.loads(garden("runs", "show", "requeued", "--json"))["state"] == "finished"
    # Started again after its end, a job does nothing.
    again = subprocess.run(
        ["sbatch", "--parsable", home / "launched" / "requeued.sbatch"], capture_output=True, text=True
    )
    wait(lambda: "JobState=COMPLETED" in scontrol(again.stdout.strip()))
    assert len(events(home, "started")) == 2
    assert "the run is finished" in (home / f"slurm-requeued-{again.stdout.strip()}.log").read_text()


def scontrol(job: str) -> str:
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
    return re.sub(r"\s+", " ", shown)

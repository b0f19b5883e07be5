"""Faults met with the commands alone, as a person does: the program's own processes, started and killed."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

pytestmark = pytest.mark.timeout(600)
PROGRAM = str(Path(sys.executable).with_name("model-garden"))
STEPS = 12


@pytest.fixture
def garden(tmp_path: Path) -> Callable[..., Any]:
    """Runs `model-garden` and returns what it printed, as JSON where it is."""
    for number in range(4):
        Image.new("RGB", (56, 56), (60 * number, 90, 160)).save(tmp_path / f"{number}.png")
    rows = [{"text": "what?", "image": f"{n}.png", "response": f"number {n}"} for n in range(4)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def call(words: str, code: int = 0) -> Any:
        done = subprocess.run(
            [PROGRAM, *words.split()], cwd=tmp_path, env=environ(tmp_path), capture_output=True, text=True, timeout=200
        )
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if "--json" in words else f"{done.stdout.strip()}\n{done.stderr}"

    return call


def environ(base: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("MODEL_GARDEN_")},
        "MODEL_GARDEN_HOME": str(base / "garden"),
        "MODEL_GARDEN_CACHE": str(base / "cache"),
        "MODEL_GARDEN_CONFIG": str(base / "none.toml"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TERM": "xterm-256color",
    }


TRAIN = (
    f"train-vision --base-model tiny --dataset data.jsonl --max-steps {STEPS} --gradient-accumulation-steps 2 "
    "--workers 0 --sample-count 0 --save-steps 2 --lora-r 2 --lora-dropout 0.1 --learning-rate 2e-3 --detach"
)


def wait_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def count_steps(base: Path, run: str) -> int:
    return (base / "garden" / "runs" / run / "events.jsonl").read_text().count('"kind":"step"')


def test_killed_shown_and_resumed(garden: Callable[..., Any], tmp_path: Path) -> None:
    run = garden(TRAIN).splitlines()[0]
    garden(f"runs watch {run}")
    again = garden(f"runs rerun {run} --detach").splitlines()[0]
    wait_until(lambda: count_steps(tmp_path, again) >= 5)
    os.kill(garden(f"runs show {again} --json")["pid"], signal.SIGKILL)
    shown = garden(f"runs show {again}")
    assert "↯ crashed" in shown and f"runs resume {again}" in shown
    assert "from the checkpoint at step" in garden(f"runs resume {again}")
    assert (garden(f"runs show {again} --json")["state"], garden("runs show last --json")["attempt"]) == ("finished", 2)
    first, second = (
        (tmp_path / "garden/runs" / name / "model/adapter_model.safetensors").read_bytes() for name in (run, again)
    )
    assert first == second
    assert "is already finished" in garden(f"runs resume {again}", code=2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_dashboard_ends_and_the_run_goes_on(
    garden: Callable[..., Any], tmp_path: Path, number: signal.Signals
) -> None:
    run = garden(TRAIN).splitlines()[0]
    dashboard, screen = open_dashboard(tmp_path)
    wait_until(lambda: b"\x1b[?1049h" in screen and count_steps(tmp_path, run) >= 2)
    worker = psutil.Process(garden(f"runs show {run} --json")["pid"])
    os.kill(dashboard, number)
    os.waitpid(dashboard, 0)
    assert worker.is_running()
    if number != signal.SIGKILL:
        wait_until(lambda: b"\x1b[?1049l" in screen, 10)  # the terminal as it was
    garden(f"runs watch {run}")
    assert garden(f"runs show {run} --json")["step"] == STEPS


def open_dashboard(base: Path) -> tuple[int, bytearray]:
    """The dashboard on a terminal of its own: its process, and what it has drawn so far."""
    leader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        [PROGRAM], cwd=base, env=environ(base), stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    process.returncode = 0  # it is waited for by its number
    screen = bytearray()

    def read() -> None:
        while True:
            try:
                screen.extend(os.read(leader, 65536))
            except OSError:
                os.close(leader)
                return

    threading.Thread(target=read, daemon=True).start()
    return process.pid, screen

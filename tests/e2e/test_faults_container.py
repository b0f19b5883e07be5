"""A container that is stopped, killed and started again, as process namespaces with the image's process 1 in each."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.runs.store import list_runs

INIT = Path(__file__).resolve().parents[2] / "docker" / "init.py"
PROGRAM = str(Path(sys.executable).with_name("model-garden"))
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
STOP_TIMEOUT = 10.0  # seconds that docker gives a container unless told otherwise


def _namespaces_work() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not _namespaces_work(), reason="a process namespace cannot be made here"),
]


class Container:
    """One start of the image's process 1 with a command, on a home that outlives it."""

    def __init__(self, base: Path, words: str, **environ: str):
        self._log = base / f"container-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self._outer = subprocess.Popen(
                [*NAMESPACE, sys.executable, "-IS", str(INIT), PROGRAM, *words.split()],
                cwd=base,
                env={**environment(base), **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What came to its terminal."""
        return self._log.read_text()

    def signal(self, number: int) -> None:
        """To its process 1."""
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        os.kill(int(children[0]), number)

    def wait(self, seconds: float = 120.0) -> int:
        """Its exit status."""
        return self._outer.wait(seconds)

    def close(self) -> None:
        """End it however it is."""
        self._outer.kill()
        self._outer.wait()


def environment(base: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("MODEL_GARDEN_")},
        "MODEL_GARDEN_HOME": str(base / "garden"),
        "MODEL_GARDEN_CACHE": str(base / "cache"),
        "MODEL_GARDEN_CONFIG": str(base / "none.toml"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Callable[..., Container]]:
    """Starts containers on one volume."""
    for number in range(4):
        Image.new("RGB", (56, 56), (60 * number, 90, 160)).save(tmp_path / f"{number}.png")
    rows = [{"text": "what?", "image": f"{n}.png", "response": f"number {n}"} for n in range(4)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made: list[Container] = []

    def start(words: str, **environ: str) -> Container:
        made.append(Container(tmp_path, words, **environ))
        return made[-1]

    yield start
    for one in made:
        one.close()


def train_command(name: str, steps: int, more: str = "") -> str:
    return (
        f"train-vision --base-model tiny --dataset data.jsonl --name {name} --max-steps {steps} --workers 0 --lora-r 2 "
        f"--gradient-accumulation-steps 1 --sample-count 0 --save-steps 1000 --detach {more}"
    )


def show_run(base: Path, name: str) -> dict[str, Any]:
    """A run as it is: read here, since a command would pick up what is queued."""
    found = [run for run in list_runs(base / "garden") if run.name == name]
    if not found:
        return {"state": "none", "step": 0, "phase_detail": None}
    view = found[0].view
    saved = [checkpoint.step for checkpoint in view.checkpoints]
    return {**found[0].as_dict(time.time()), "by": view.result.get("by"), "saved": saved}


def wait_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.2)


def test_a_container_is_stopped_and_the_next_one_offers_to_go_on(
    container: Callable[..., Container], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    first = container(train_command("mine", 100_000))
    wait_until(lambda: show_run(tmp_path, "mine")["step"] >= 5)
    assert "Still running in this container" in first.output
    began = time.monotonic()
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    took = time.monotonic() - began
    record_property("seconds to stop", round(took, 2))
    assert took < STOP_TIMEOUT
    found = show_run(tmp_path, "mine")
    assert (found["state"], found["by"]) == ("interrupted", "signal SIGTERM")
    assert found["saved"][-1] == found["step"] >= 5, "nothing is lost"
    second = container("runs list")
    assert second.wait() == 0
    assert "↺ interrupted" in second.output and f"runs resume {found['id']}" in second.output
    assert show_run(tmp_path, "mine")["state"] == "interrupted", "only offered"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_next_container_goes_on_by_itself_when_told_so(
    container: Callable[..., Container], tmp_path: Path, number: signal.Signals
) -> None:
    first = container(train_command("mine", 60, "--save-steps 10"))
    wait_until(lambda: show_run(tmp_path, "mine")["step"] >= 12)
    first.signal(number)
    first.wait()
    reached = show_run(tmp_path, "mine")
    assert reached["state"] == "interrupted" and reached["step"] < 60
    second = container("runs list", MODEL_GARDEN_RUNS_RESUME_INTERRUPTED="true")
    assert second.wait() == 0, "it stays for the run and ends with it"
    assert f"resumed: {reached['id']} (was interrupted)" in second.output
    found = show_run(tmp_path, "mine")
    assert (found["state"], found["step"], found["attempt"]) == ("finished", 60, 2)
    journal = (tmp_path / "garden" / "runs" / found["id"] / "events.jsonl").read_text()
    resumed = [json.loads(line)["resumed_from"] for line in journal.splitlines() if '"kind":"started"' in line]
    assert resumed[1] == (reached["step"] if number == signal.SIGTERM else 10 * (reached["step"] // 10))


def test_queued_runs_are_picked_up_by_the_next_container(container: Callable[..., Container], tmp_path: Path) -> None:
    first = container(train_command("mine", 100_000))
    wait_until(lambda: show_run(tmp_path, "mine")["step"] >= 2)
    env = environment(tmp_path)
    # Queued from within the container, as by `docker exec`; there is one device, so it waits.
    inner = subprocess.run(["pgrep", "-f", "mg_tui.engine.*-mine"], capture_output=True, text=True, check=True)
    command = f"cd {tmp_path} && exec {PROGRAM} {train_command('next', 3, '--queue')}"
    enter = ["nsenter", "--target", inner.stdout.split()[0], "--pid", "--mount"]
    subprocess.run([*enter, "sh", "-c", command], env=env, check=True, capture_output=True)
    wait_until(lambda: show_run(tmp_path, "next")["phase_detail"])
    first.signal(signal.SIGTERM)
    first.wait()
    assert show_run(tmp_path, "next")["state"] == "queued"
    second = container("runs wake")
    assert second.wait() == 0
    assert show_run(tmp_path, "next")["state"] == "finished"
    assert show_run(tmp_path, "mine")["state"] == "interrupted"


def test_a_person_who_presses_ctrl_c_twice_stops_and_does_not_interrupt(
    container: Callable[..., Container], tmp_path: Path
) -> None:
    first = container(train_command("mine", 100_000))
    wait_until(lambda: show_run(tmp_path, "mine")["step"] >= 2 and "Still running" in first.output)
    for _ in range(2):
        first.signal(signal.SIGINT)
        time.sleep(0.3)
    assert first.wait() == 0
    found = show_run(tmp_path, "mine")
    assert (found["state"], found["by"]) == ("stopped", "signal SIGINT")

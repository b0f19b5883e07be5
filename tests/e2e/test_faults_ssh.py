"""Runs started over a real connection to a real sshd on loopback, and what becomes of them when it is lost."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.ssh_host import SSHD, SshHost, cable, remove_cable

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (Path(SSHD).exists() and shutil.which("ssh")), reason="no sshd or no ssh"),
]
STEPS = 40


def drop_connection(client: "subprocess.Popen[bytes]") -> None:
    """Kill a client; nobody says goodbye."""
    client.kill()
    client.wait()
    assert client.stdin is not None
    client.stdin.close()


def write_dataset(base: Path) -> None:
    Image.new("RGB", (56, 56), "red").save(base / "red.png")
    row = json.dumps({"text": "what colour?", "image": "red.png", "response": "red"}) + "\n"
    (base / "data.jsonl").write_text(row * 4)


TRAIN = (
    f"train-vision --base-model tiny --dataset data.jsonl --max-steps {STEPS} --gradient-accumulation-steps 2 "
    "--workers 0 --sample-count 0 --save-steps 10 --lora-r 2"
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SshHost]:
    """A machine on loopback."""
    Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    write_dataset(tmp_path)
    made = SshHost(tmp_path)
    wait_until(lambda: "listening" in made.log.read_text() if made.log.exists() else False, 20)
    yield made
    made.close()


def wait_until(condition: Callable[[], object], seconds: float = 180.0, why: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)


def read_journal(base: Path) -> list[dict[str, Any]]:
    with contextlib.suppress(StopIteration):
        text = next((base / "garden" / "runs").glob("*/events.jsonl")).read_text()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return []


def read_steps(base: Path) -> list[int]:
    return [event["step"] for event in read_journal(base) if event["kind"] == "step"]


def assert_complete_run(host: SshHost) -> None:
    """The run ends well, and a new login finds it so, its curve complete."""
    wait_until(
        lambda: read_journal(host.base)[-1]["kind"] in ("finished", "failed"),
        why=lambda: str(read_journal(host.base)[-3:]),
    )
    record = host.ask("runs show last --json")
    assert (record["state"], record["step"], record["attempt"]) == ("finished", STEPS, 1)
    assert read_steps(host.base) == list(range(1, STEPS + 1))


def has_started(host: SshHost) -> bool:
    return len(read_steps(host.base)) >= 2


@pytest.mark.parametrize("flags", ["", "--queue --gpus cpu"], ids=["started", "queued"])
def test_the_client_is_killed(host: SshHost, flags: str) -> None:
    client = host.login(f"{TRAIN} {flags}")
    wait_until(lambda: has_started(host), why=lambda: (host.base / "client.log").read_text())
    drop_connection(client)
    at = len(read_steps(host.base))
    assert at < STEPS, "it was killed while the run went on"
    assert_complete_run(host)


def test_the_dashboard_is_lost(host: SshHost) -> None:
    """Started detached; a dashboard that looks at it loses its connection."""
    first = host.login(f"{TRAIN} --detach", terminal=False)
    assert first.wait() == 0
    drop_connection(first)
    wait_until(lambda: has_started(host))
    client = host.login("")
    log = host.base / "client.log"
    wait_until(lambda: b"\x1b[?1049h" in log.read_bytes(), 60, why=lambda: log.read_text()[-2000:])
    drop_connection(client)
    assert_complete_run(host)
    wait_until(lambda: not dashboards(host), 30)


def dashboards(host: SshHost) -> list[str]:
    """Processes of the program that still have a terminal of this host's sessions."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environ = (entry / "environ").read_bytes()
            if str(host.base / "garden").encode() in environ and b"SSH_TTY=" in environ:
                found.append(entry.name)
    return found


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root and ip")
def test_the_cable_is_pulled(tmp_path: Path) -> None:
    """The client is in a network namespace of its own, whose cable goes down without a word to either side."""
    name = f"mg{os.getpid()}"
    commands = cable(name, "10.213.77.1", "10.213.77.2")
    write_dataset(tmp_path)
    Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    made: list[SshHost] = []
    try:
        for command in commands:
            if subprocess.run(command.split(), capture_output=True).returncode:
                pytest.skip(f"not here: {command}")
        host = SshHost(tmp_path, address="10.213.77.1", through=("ip", "netns", "exec", name))
        made.append(host)
        wait_until(lambda: "listening" in host.log.read_text() if host.log.exists() else False, 20)
        client = host.login(TRAIN)
        wait_until(lambda: has_started(host), why=lambda: (tmp_path / "client.log").read_text())
        subprocess.run(f"ip link set {name}a down".split(), check=True)
        assert len(read_steps(tmp_path)) < STEPS
        wait_until(lambda: read_journal(tmp_path)[-1]["kind"] == "finished")
        subprocess.run(f"ip link set {name}a up".split(), check=True)
        assert_complete_run(host)
        drop_connection(client)
    finally:
        for host in made:
            host.close()
        remove_cable(name)

"""Several machines: they meet or say who is missing, compare what they are about to do, and notice a pulled cable."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.events import Event
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.layout.partition import World
from mg_tui.engine.run import machines, process_group
from mg_tui.engine.run.rank_supervisor import STORE_ENV, RankPlan, supervise
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.ranks import LostRank, NoteWriter, RankNote, RankNotes

PATIENCE = 600  # seconds, for a machine that has much more to do
pytestmark = pytest.mark.timeout(3600)  # seconds


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def events(folder: RunFolder, kind: str) -> list[Event]:
    return [event for event in JournalReader(folder.journal_file).read_new() if event.kind == kind]


def test_what_differs_between_processes_is_named() -> None:
    same = {"lora_r": 8, "version of torch": "2.15.0", "data": "ab12"}
    process_group.require_same([same, dict(same), dict(same)])
    with pytest.raises(UsageError, match="processes 0 and 2 are not about to do the same") as caught:
        process_group.require_same([same, same, {**same, "data": "cd34", "lora_r": 16}])
    assert caught.value.why == "data: 'ab12' and 'cd34', lora_r: 8 and 16"


def test_who_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STORE_ENV, f"127.0.0.1:{free_port()}")
    with pytest.raises(EnvironmentProblem, match="machine 1, 2 did not come") as caught:
        process_group.join_group(World(0, 3, 0, 1), cuda=False, patience=0.3)
    assert "training process 1, 2" in str(caught.value.why)


def test_machine_0_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv(STORE_ENV, f"127.0.0.1:{port}")
    monkeypatch.setattr(process_group, "_CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(process_group, "_FOLLOWERS_SECONDS", 0.0)
    asked: list[bool] = []
    with pytest.raises(EnvironmentProblem, match=f"machine 0 does not answer at 127.0.0.1:{port}"):
        process_group.join_group(World(1, 2, 0, 1), cuda=False, patience=0.6, poll=lambda: asked.append(True))
    assert asked, "a stop is heard while waiting"


def make_run(home: Path, **options: Any) -> RunFolder:
    return RunFolder.create(home, TrainingSpec.parse({"base_model": "tiny", "dataset": "d", **options}), versions={})


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        rendezvous = "127.0.0.1:{1}".format(*taken.getsockname())
        folder = make_run(tmp_path, nodes=2, rendezvous=rendezvous)
        assert supervise(folder.path, RankPlan(1, 0, 2)) == 3
    (failed,) = events(folder, "failed")
    assert failed.data["what"] == f"rendezvous: machine 0 cannot listen on {rendezvous}"
    assert "in use" in failed.data["why"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": 2}, "rendezvous: .*required"),
        ({"rendezvous": "a:1"}, "nodes: .*must be at least 2"),
        ({"nodes": 2, "node_rank": 2, "rendezvous": "a:1"}, "node_rank: .*must be below nodes"),
        ({"nodes": 2, "rendezvous": "host"}, "expected HOST:PORT"),
        ({"nodes": 2, "rendezvous": "host:0"}, "expected HOST:PORT"),
        ({"nodes": 2, "rendezvous": ":70"}, "expected HOST:PORT"),
    ],
)
def test_options_of_several_machines_have_to_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainingSpec.parse({"base_model": "tiny", "dataset": "d", **options})


def test_words_of_other_machines_are_written_down_and_silence_is_noticed(tmp_path: Path) -> None:
    """With a store that is a dictionary: machine 0 hears machine 1, and then does not."""
    words: dict[str, bytes] = {}

    class Store:
        set, get = words.__setitem__, words.__getitem__

        def check(self, keys: list[str]) -> bool:
            return all(key in words for key in keys)

    watches = []
    for machine in (0, 1):
        folder = make_run(tmp_path / str(machine))
        notes = RankNotes(folder.path)
        notes.clear()
        NoteWriter(notes.path(machine)).write(RankNote(machine, step=5, rows=(machine,), host=f"host{machine}"))
        watches.append((machines.MachineWatch(folder, World(machine, 2, 0, 1), timeout=0.2), notes))
    (first, here), (second, there) = watches
    for watch in (first, second, first):
        watch._exchange(Store())
    note = here.read(1)
    assert note is not None and (note.step, note.rows, note.host) == (5, (1,), "host1")
    assert first._find_lost() is None
    time.sleep(0.3)
    first._exchange(Store())  # the same word once more is no sign of life
    lost = first._find_lost()
    assert lost is not None and lost.rank == 1 and "machine 1 (host1) was not heard" in lost.how

    there.write_lost(LostRank(1, "was killed (SIGKILL)", RankNote(1, step=6)))
    second._exchange(Store())
    first._exchange(Store())
    told = here.read_lost()
    assert told is not None and (told.rank, told.how, told.note.step) == (1, "was killed (SIGKILL)", 6)


def test_connections_are_broken_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        peer, _address = server.accept()
        with peer:
            assert not machines._is_remote(client), "loopback stays"
            chosen = client.getsockname()
            monkeypatch.setattr(machines, "_is_remote", lambda connection: connection.getsockname() == chosen)
            assert machines.break_connections() == 1
            client.settimeout(10)
            assert client.recv(1) == b"", "whoever waits is told at once"


@pytest.fixture
def two_machines() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command on machine 0 or 1: network namespaces with a cable between them (10.77.1.1 and 10.77.1.2)."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2")
    names = [f"mg{os.getpid()}{letter}" for letter in "ab"]

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    try:
        for name in names:
            ip("netns", "add", name)
    except subprocess.CalledProcessError:
        pytest.skip("network namespaces cannot be made here")
    try:
        ip("link", "add", "mgt0", "type", "veth", "peer", "name", "mgt1")
        for number, name in enumerate(names):
            ip("link", "set", f"mgt{number}", "netns", name)
            ip("-n", name, "addr", "add", f"10.77.1.{number + 1}/24", "dev", f"mgt{number}")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", f"mgt{number}", "up")
        yield lambda number, *command, **more: subprocess.Popen(
            ["ip", "netns", "exec", names[number], *command], text=True, **more
        )
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.mark.slow
def test_a_pulled_cable_ends_both_with_a_checkpoint(
    tmp_path: Path, two_machines: Callable[..., subprocess.Popen[str]]
) -> None:
    from scripts.compare_ranks import COMMAND, write_dataset

    write_dataset(tmp_path / "data")
    homes = [tmp_path / "0", tmp_path / "1"]
    for number, home in enumerate(homes):
        command = [
            *(*COMMAND, "train-vision", "--detach", "--base-model", "tiny", "--device", "cpu", "--max-steps", "400"),
            *("--dataset", str(tmp_path / "data" / "rows.jsonl"), "--sample-count", "0", "--lora-r", "4"),
            *("--nodes", "2", "--node-rank", str(number), "--rendezvous", "10.77.1.1:29533", "--rank-timeout", "6"),
        ]
        environ = {**os.environ, "HF_HUB_OFFLINE": "1", "MODEL_GARDEN_HOME": str(home)}
        assert two_machines(number, *command, env=environ).wait(timeout=PATIENCE) == 0
    folders = [RunFolder(next((home / "runs").iterdir())) for home in homes]
    deadline = time.monotonic() + PATIENCE
    while any(len(events(folder, "step")) < 3 for folder in folders):
        assert not any(events(folder, "failed") for folder in folders)
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert two_machines(0, "ip", "link", "set", "mgt0", "down").wait(timeout=60) == 0
    began = time.monotonic()
    while not all(events(folder, "failed") for folder in folders):
        assert time.monotonic() - began < 60, "nobody noticed"
        time.sleep(0.2)
    for number, folder in enumerate(folders):
        (failed,) = events(folder, "failed")
        assert f"on machine {1 - number}" in failed.data["what"] and failed.data["rank"] == 1 - number
        newest, damaged = checkpoint_format.newest_valid(folder.checkpoints_dir)
        assert newest is not None and not damaged
        assert checkpoint_format.step_of(newest) == events(folder, "step")[-1].data["step"]
    assert {item["rank"] for item in events(folders[0], "ranks")[-1].data["ranks"]} == {0, 1}

"""Copies of a run: whole at every moment, verified, resumable elsewhere; against a folder, S3 and a stand-in Hub."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import UsageError
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.resume import find_resume_target
from mg_tui.watching import targets
from mg_tui.watching.copying import CopyFailed
from mg_tui.watching.fetching import fetch_run, list_copies
from mg_tui.watching.syncing import Syncer
from mg_tui.watching.targets import open_target
from mg_tui.watching.watch_state import WatchState
from tests.hub_server import WRITE_TOKEN, HubServer
from tests.watching.conftest import Until


def add_checkpoint(folder: RunFolder, step: int) -> Path:
    path = checkpoint_format.folder_of(folder.checkpoints_dir, step)
    path.mkdir()
    (path / "optimizer.pt").write_bytes(os.urandom(300_000))
    (path / "trained.safetensors").write_bytes(os.urandom(50_000))
    files = {
        name: ((path / name).stat().st_size, checkpoint_format.checksum(path / name))
        for name in ("optimizer.pt", "trained.safetensors")
    }
    (path / checkpoint_format.MANIFEST_FILE).write_text(json.dumps(checkpoint_format.make_manifest(step, {}, files)))
    return path


def add_result(folder: RunFolder) -> None:
    folder.model_dir.mkdir()
    (folder.model_dir / "adapter_model.safetensors").write_bytes(os.urandom(20_000))
    (folder.model_dir / "model_garden.json").write_text("{}")


@pytest.fixture
def run(folder: RunFolder) -> RunFolder:
    """A run with two checkpoints, a secret and files of this machine, that was stopped."""
    add_checkpoint(folder, 100)
    add_checkpoint(folder, 200)
    for name in ("watch.json", "watch-state.json", "queue.json", "step.json", "devices.json"):
        (folder.path / name).write_text("{}")
    (folder.samples_dir / "1.png").write_bytes(b"png")
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host="there", attempt=1, versions={})
        journal.write("step", step=200, loss=1.0)
        journal.write("stopped", step=200, checkpoint="checkpoints/step-000200", by="me")
    return folder


def copy(run: RunFolder, destination: str, *, ended: bool = True) -> WatchState:
    state = WatchState(run.path)
    syncer = Syncer(run, destination, state)
    syncer.request(ended=ended, last_event=4)
    syncer.copy_new()
    assert state.sync["copied"] == 4 and state.sync["problem"] is None
    return state


def assert_resumable(home: Path, run: RunFolder, step: int = 200) -> RunFolder:
    fetched = RunFolder(home / "runs" / run.id)
    assert find_resume_target(fetched).step == step
    for name in ("watch.json", "queue.json", "step.json", "devices.json"):
        assert not (fetched.path / name).exists()
    assert (fetched.samples_dir / "1.png").read_bytes() == b"png"
    assert fetched.journal_file.read_bytes() == run.journal_file.read_bytes()
    return fetched


def test_a_copy_in_a_folder_is_a_run(run: RunFolder, tmp_path: Path) -> None:
    add_result(run)
    copy(run, str(tmp_path / "backup"))
    assert list_copies(str(tmp_path / "backup")) == [run.id]
    fetched = fetch_run(f"{tmp_path}/backup/{run.id}", tmp_path / "elsewhere")
    assert fetched == assert_resumable(tmp_path / "elsewhere", run)
    assert (fetched.model_dir / "adapter_model.safetensors").stat().st_size == 20_000
    with pytest.raises(UsageError, match="is here already"):
        fetch_run(f"{tmp_path}/backup/{run.id}", tmp_path / "elsewhere")


def test_old_checkpoints_go_when_a_newer_one_is_whole(run: RunFolder, tmp_path: Path) -> None:
    copy(run, str(tmp_path / "backup"), ended=False)
    there = tmp_path / "backup" / run.id / "checkpoints"
    shutil.rmtree(checkpoint_format.folder_of(run.checkpoints_dir, 100))
    add_checkpoint(run, 300)
    copy(run, str(tmp_path / "backup"), ended=False)
    assert sorted(path.name for path in there.iterdir()) == ["step-000200", "step-000300"]
    for step in (200, 300):
        shutil.rmtree(checkpoint_format.folder_of(run.checkpoints_dir, step))
    copy(run, str(tmp_path / "backup"), ended=False)
    assert sorted(path.name for path in there.iterdir()) == ["step-000200", "step-000300"], "the last ones stay"


def test_what_was_cut_is_not_a_checkpoint_and_is_resumed(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy fails in the middle of the newest checkpoint; the journal is not ahead of it; a second try ends it."""
    real = targets._copy_file
    copied: list[str] = []

    def failing(source: Path, destination: Path) -> None:
        if len(copied) == 1:
            raise CopyFailed("no space left on device")
        copied.append(source.name)
        real(source, destination)

    monkeypatch.setattr(targets, "_copy_file", failing)
    state = WatchState(run.path)
    syncer = Syncer(run, str(tmp_path / "backup"), state)
    syncer.request(ended=True, last_event=4)
    with pytest.raises(CopyFailed, match="no space"):
        syncer.copy_new()
    assert not syncer.is_done
    place = tmp_path / "backup" / run.id
    assert checkpoint_format.list_valid(place / "checkpoints") == [] and not (place / "events.jsonl").exists()
    monkeypatch.setattr(targets, "_copy_file", real)
    syncer.copy_new()
    assert len(checkpoint_format.list_valid(place / "checkpoints")) == 2


def test_a_copy_that_differs_is_an_error(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaging(source: Path, destination: Path) -> None:
        destination.write_bytes(b"\0" * source.stat().st_size)

    monkeypatch.setattr(targets.shutil, "copyfile", damaging)  # type: ignore[attr-defined]
    with pytest.raises(CopyFailed, match="differs after"):
        open_target(str(tmp_path / "backup"), run.id).put(run.path, ["spec.json"], "")
    assert not (tmp_path / "backup" / run.id / "spec.json").exists()


def test_a_disk_that_is_not_mounted_is_not_written(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(CopyFailed, match="is not there"):
        open_target(str(tmp_path / "mnt/disk/deep"), run.id).put(run.path, ["spec.json"], "")


def test_a_damaged_copy_is_not_fetched(run: RunFolder, tmp_path: Path) -> None:
    copy(run, str(tmp_path / "backup"))
    place = tmp_path / "backup" / run.id
    file = place / "checkpoints/step-000200/trained.safetensors"
    file.write_bytes(b"\0" * file.stat().st_size)
    fetched = fetch_run(str(place), tmp_path / "elsewhere")
    assert find_resume_target(fetched).step == 100
    (place / "events.jsonl").unlink()
    with pytest.raises(UsageError, match="no copy of a run"):
        fetch_run(str(place), tmp_path / "third")
    assert not (tmp_path / "third/runs").exists() or not list((tmp_path / "third/runs").iterdir())


class S3Server:
    """A server of S3 that can be away for a while; `start` keeps port and contents."""

    def __init__(self) -> None:
        self._port = 0
        self.start()

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", self._port)
        self._server.start()
        self._port = int(self._server.get_host_and_port()[1])

    def stop(self) -> None:
        self._server.stop()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server of S3 with a bucket."""
    import boto3

    server = S3Server()
    address = server.address
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret-of-mine",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="bucket")
    yield server
    server.stop()


def test_s3(run: RunFolder, tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    add_result(run)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    state = WatchState(run.path)
    syncer = Syncer(run, "s3://bucket/runs", state, first_pause=0.1)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    syncer.request(ended=True, last_event=4)
    with pytest.raises(CopyFailed):
        syncer.copy_new()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.address)
    s3fs.S3FileSystem.clear_instance_cache()
    copy(run, "s3://bucket/runs")
    assert list_copies("s3://bucket/runs") == [run.id]
    fetched = fetch_run(f"s3://bucket/runs/{run.id}", tmp_path / "elsewhere")
    assert_resumable(tmp_path / "elsewhere", run)
    assert (fetched.model_dir / "model_garden.json").exists()
    shutil.rmtree(checkpoint_format.folder_of(run.checkpoints_dir, 100))
    copy(run, "s3://bucket/runs")
    target = open_target("s3://bucket/runs", run.id)
    assert {name.split("/")[0] for name in target.names("checkpoints")} == {"step-000200"}
    assert "secret-of-mine" not in (run.path / "watch-state.json").read_text()


def test_s3_that_is_killed_and_back_loses_nothing(
    run: RunFolder, tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """The watching thread goes on by itself; what had arrived before is not sent again."""
    import s3fs

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    sent: list[str] = []
    real = s3fs.S3FileSystem._put_file

    async def put_file(self: Any, local: str, remote: str, **options: Any) -> None:
        await real(self, local, remote, **options)
        sent.append(remote)

    monkeypatch.setattr(s3fs.S3FileSystem, "_put_file", put_file)
    state = WatchState(run.path)
    syncer = Syncer(run, "s3://bucket/runs", state, first_pause=0.1)
    syncer.start()
    syncer.request(ended=False, last_event=4)
    until(lambda: syncer.is_done)
    s3.stop()
    add_checkpoint(run, 300)
    add_result(run)
    syncer.request(ended=True, last_event=5)
    until(lambda: state.sync.get("problem"))
    assert not syncer.is_done and syncer.failing_seconds > 0
    s3.start()
    until(lambda: syncer.is_done)
    syncer.stop()
    assert state.sync["problem"] is None and state.sync["copied"] == 5
    whole = [path for path in sent if "/checkpoints/" in path or "/model/" in path]
    assert len(whole) == len(set(whole)) == 3 * 3 + 2, "each file of a checkpoint and of the result, once"
    fetch_run(f"s3://bucket/runs/{run.id}", tmp_path / "elsewhere")
    assert_resumable(tmp_path / "elsewhere", run, 300)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    from huggingface_hub import constants

    with HubServer() as server:
        server.start()
        for name, value in {"HF_ENDPOINT": server.url, "HF_TOKEN": WRITE_TOKEN}.items():
            monkeypatch.setenv(name, value)
        # The client reads these when it is imported; the stand-in speaks LFS.
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        yield server
        server.shutdown()


SSHD = shutil.which("sshd") or ("/usr/sbin/sshd" if Path("/usr/sbin/sshd").exists() else None)


@pytest.mark.slow
@pytest.mark.skipif(SSHD is None or shutil.which("rsync") is None, reason="needs sshd and rsync")
def test_rsync_over_ssh_with_the_server_killed_and_back(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SSHD is not None
    keys = tmp_path / "ssh"
    keys.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
    shutil.copy(keys / "user.pub", keys / "authorized_keys")
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["-o", f"AuthorizedKeysFile={keys}/authorized_keys", "-o", "StrictModes=no", "-o", "UsePAM=no"]
    command = [SSHD, "-D", "-e", "-f", "/dev/null", "-p", str(port), "-h", str(keys / "host"), *options]
    shell = f"ssh -i {keys}/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes"
    monkeypatch.setenv("RSYNC_RSH", shell)
    destination = f"ssh://127.0.0.1:{port}{tmp_path}/backup"

    def serve() -> "subprocess.Popen[bytes]":
        import time

        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return process
            time.sleep(0.05)
        raise AssertionError("sshd does not answer")

    server = serve()
    copy(run, destination)
    server.kill()
    server.wait()
    add_checkpoint(run, 300)
    state = WatchState(run.path)
    syncer = Syncer(run, destination, state)
    syncer.request(ended=True, last_event=5)
    with pytest.raises(CopyFailed, match="Connection refused"):
        syncer.copy_new()
    server = serve()
    try:
        shutil.rmtree(checkpoint_format.folder_of(run.checkpoints_dir, 100))
        syncer.copy_new()
        assert state.sync["copied"] == 5
        names = open_target(destination, run.id).names("checkpoints")
        assert {name.split("/")[0] for name in names if "/" in name} == {"step-000200", "step-000300"}
        fetch_run(f"{destination}/{run.id}", tmp_path / "elsewhere")
        assert_resumable(tmp_path / "elsewhere", run, 300)
    finally:
        server.kill()
        server.wait()


def test_the_hub(run: RunFolder, tmp_path: Path, hub: HubServer) -> None:
    copy(run, "hf://me/runs")
    assert hub.repositories["me/runs"].private
    uploads = len(hub.uploads)
    copy(run, "hf://me/runs")
    assert len(hub.uploads) == uploads, "what is there is not sent again"
    fetch_run(f"hf://me/runs/{run.id}", tmp_path / "elsewhere")
    assert_resumable(tmp_path / "elsewhere", run)

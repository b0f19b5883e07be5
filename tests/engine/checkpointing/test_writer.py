"""Checkpoints are whole or not there, and damage is seen."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.engine.checkpointing import writer
from mg_tui.runs import checkpoint_format

ROOT = Path(__file__).resolve().parents[3]


def write(folder: Path, step: int, content: bytes = b"weights") -> writer.WrittenCheckpoint:
    with writer.write_checkpoint(folder, step, {"note": "test"}, needed=100) as (path, done):
        (path / "adapter.bin").write_bytes(content)
        (path / "deeper").mkdir()
        (path / "deeper" / "state.bin").write_bytes(content * 3)
    return done[0]


def test_written_then_whole(tmp_path: Path) -> None:
    written = write(tmp_path, 200)
    assert written.path == tmp_path / "step-000200"
    assert written.bytes == sum(p.stat().st_size for p in written.path.rglob("*") if p.is_file())
    assert checkpoint_format.find_problem(written.path) is None
    assert checkpoint_format.read_manifest(written.path)["note"] == "test"
    assert checkpoint_format.newest_valid(tmp_path) == (written.path, [])


def calls_of_python(monkeypatch: pytest.MonkeyPatch, checkpoints: Path) -> list[tuple[str, Path]]:
    """The calls that matter for what is on the disk, in order: what was synced, and what a folder was renamed to."""
    calls: list[tuple[str, Path]] = []
    fsync, rename = os.fsync, os.rename

    def record_fsync(fd: int) -> None:
        fsync(fd)
        calls.append(("fsync", Path(f"/proc/self/fd/{fd}").readlink()))

    def record_rename(source: Path, target: Path, **options: object) -> None:
        rename(source, target)
        calls.append(("rename", Path(target)))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", record_fsync)
        patch.setattr(os, "rename", record_rename)
        write(checkpoints, 200)
    return calls


def calls_of_the_system(checkpoints: Path) -> list[tuple[str, Path]]:
    """The same as the kernel sees it, from a process of its own under strace."""
    log = checkpoints.parent / "strace.log"
    code = "import sys; from pathlib import Path; from tests.engine.checkpointing.test_writer import write; "
    code += "write(Path(sys.argv[1]), 200)"
    command = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-o", str(log)]
    done = subprocess.run(
        [*command, sys.executable, "-c", code, str(checkpoints)], capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode != 0 and "ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    calls: list[tuple[str, Path]] = []
    for line in log.read_text().splitlines():
        if synced := re.search(r"(?:fsync|fdatasync)\(\d+<(.+)>\) += 0", line):
            calls.append(("fsync", Path(synced[1])))
        elif renamed := re.search(r'rename\w*\(.*"([^"]+)".*"([^"]+)".*\) += 0', line):
            calls.append(("rename", Path(renamed[2])))
    return [call for call in calls if call[1].is_relative_to(checkpoints)]


@pytest.mark.parametrize("seen_by", ["python", "the system"])
def test_all_of_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen_by: str
) -> None:
    """Otherwise a power cut right after the rename may leave a folder of that name with empty files."""
    checkpoints = tmp_path / "checkpoints"
    if seen_by == "the system":
        if shutil.which("strace") is None:
            pytest.skip("strace is not installed")
        calls = calls_of_the_system(checkpoints)
    else:
        calls = calls_of_python(monkeypatch, checkpoints)
    unfinished = checkpoints / ".writing-step-000200"
    named = calls.index(("rename", checkpoints / "step-000200"))
    before, after = calls[:named], calls[named + 1 :]
    manifest = unfinished / checkpoint_format.MANIFEST_FILE
    parts = {unfinished / "adapter.bin", unfinished / "deeper" / "state.bin", manifest, unfinished / "deeper"}
    assert {path for kind, path in before if kind == "fsync"} == {*parts, unfinished}
    assert before[-1] == ("fsync", unfinished), "the names in it last"
    assert after == [("fsync", checkpoints)], "and the name that it has now"


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), writer.write_checkpoint(tmp_path, 5, {}, needed=1) as (path, _):
        (path / "half").write_bytes(b"x")
        raise KeyError("boom")
    assert list(tmp_path.iterdir()) == []


def test_no_room_is_said_before_writing(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with (
        pytest.raises(EnvironmentProblem, match="no room") as caught,
        writer.write_checkpoint(tmp_path, 2, {}, needed=2**60),
    ):
        pytest.fail("must not get here")
    assert caught.value.exit_code == 3
    assert checkpoint_format.newest_valid(tmp_path)[0] == tmp_path / "step-000001"


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "manifest"])
def test_damage_is_seen_and_the_one_before_is_used(tmp_path: Path, damage: str) -> None:
    older, newer = write(tmp_path, 1).path, write(tmp_path, 2).path
    target = newer / "deeper" / "state.bin"
    if damage == "cut":
        target.write_bytes(b"wei")
    elif damage == "flip":
        target.write_bytes(b"wEights" * 3)
    elif damage == "missing":
        target.unlink()
    else:
        (newer / checkpoint_format.MANIFEST_FILE).write_text("{")
    result, damaged = checkpoint_format.newest_valid(tmp_path)
    assert result == older
    assert [folder for folder, _ in damaged] == [newer]
    assert write(tmp_path, 2).path == newer, "a damaged one is replaced"
    assert checkpoint_format.find_problem(newer) is None


def test_retention_keeps_the_newest_whole_one_and_the_best(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        write(tmp_path, step)
    (tmp_path / "step-000003" / "adapter.bin").unlink()
    (tmp_path / "step-000004" / "adapter.bin").unlink()
    assert writer.prune(tmp_path, 2, best=tmp_path / "step-000001") == []
    assert writer.prune(tmp_path, 1) == [tmp_path / "step-000001", tmp_path / "step-000003"]
    assert [path.name for path in checkpoint_format.list_checkpoints(tmp_path)] == ["step-000002", "step-000004"]


def test_leftovers_are_swept(tmp_path: Path) -> None:
    saved = write(tmp_path, 1).path
    (tmp_path / ".writing-step-000002").mkdir()
    (tmp_path / ".writing-step-000002" / "x").write_bytes(b"1")
    writer.remove_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [saved]
    writer.remove_unfinished(tmp_path / "absent")

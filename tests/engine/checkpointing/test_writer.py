"""Checkpoints are whole or not there, and damage is seen."""

from pathlib import Path

import pytest

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.engine.checkpointing import writer
from mg_tui.runs import checkpoint_format


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

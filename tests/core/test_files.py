"""Files are old or new, whatever breaks off between; never a part of either, and never gone."""

import errno
import os
from pathlib import Path

import pytest

from mg_tui.core.files import write_atomic


@pytest.mark.parametrize("breaks", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.chmod"])
def test_a_write_that_breaks_off_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    path = tmp_path / "spec.json"
    write_atomic(path, b"old")

    def full(*_arguments: object, **_options: object) -> None:
        assert path.read_bytes() == b"old", "nothing has been written into the file itself"
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(breaks, full)
        write_atomic(path, b"new and longer", mode=0o600)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomic(path, b"new and longer", mode=0o600)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new and longer", 0o600)


def test_content_is_synced_before_it_has_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, calls = tmp_path / "spec.json", []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(fd: int) -> None:
        calls.append(("fsync", Path(f"/proc/self/fd/{fd}").readlink()))
        fsync(fd)

    def record_replace(self: Path, target: Path) -> Path:
        calls.append(("rename", self))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    write_atomic(path, b"content")
    (synced, first), (renamed, second) = calls
    assert (synced, renamed) == ("fsync", "rename")
    assert first == second != path

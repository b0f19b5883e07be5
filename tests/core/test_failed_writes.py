"""Why a write failed: disk, quota, inodes or the process's own limit, whatever library said it."""

import errno
import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from mg_tui.core import files

TORCH = "[enforce fail at inline_container.cc:671] . unexpected pos 196544 vs 196432"


def test_a_full_disk_and_a_quota(tmp_path: Path) -> None:
    for error in (OSError(errno.ENOSPC, "x"), RuntimeError("I/O error: No space left on device (os error 28)")):
        assert files.explain_failed_write(error, tmp_path) == ("No space left on device", "free space on this disk")
    assert "quota" in str(files.explain_failed_write(OSError(errno.EDQUOT, "x"), tmp_path))


def test_no_inodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = {"f_bavail": 1 << 30, "f_frsize": 4096, "f_blocks": 1 << 31, "f_bfree": 1 << 30}
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(**room, f_files=100, f_favail=0))
    assert "no free inodes" in str(files.explain_failed_write(OSError(errno.ENOSPC, "x"), tmp_path))
    assert "no free inodes" in str(files.explain_failed_write(RuntimeError(TORCH), tmp_path))
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(**room, f_files=0, f_favail=0))
    assert files.has_free_inodes(tmp_path), "a file system that does not count them"


def test_a_file_size_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.explain_failed_write(RuntimeError(TORCH), tmp_path) is None, "nothing here limits a write"
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (3 << 20, 3 << 20))
    for error in (OSError(errno.EFBIG, "x"), RuntimeError("File too large (os error 27)"), RuntimeError(TORCH)):
        reason = files.explain_failed_write(error, tmp_path)
        assert reason is not None and "limit of 3.0 MiB (ulimit -f)" in reason[0] and "ulimit -f" in reason[1]


def test_other_errors_are_not_explained(tmp_path: Path) -> None:
    for error in (OSError(errno.EACCES, "x"), ValueError("no"), RuntimeError("size mismatch")):
        assert files.explain_failed_write(error, tmp_path) is None

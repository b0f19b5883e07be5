"""Whether a running worker responds, from the time of its lock file."""

import os
import time
from pathlib import Path

import pytest

from mg_tui.runs.folder import RunFolder
from mg_tui.runs.heartbeat import describe_silence, explain_silence, seconds_silent
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.store import summarize_run
from mg_tui.tui.runs.snapshot import build_detail, build_row


@pytest.mark.parametrize(("beats", "silent"), [(True, True), (False, False)])
def test_only_a_worker_with_a_heartbeat_can_be_silent(folder: RunFolder, beats: bool, silent: bool) -> None:
    with RunLock(folder.lock_file) as lock, JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=os.getpid(), host="elsewhere", **({"heartbeat": 2.0} if beats else {}))
        os.utime(folder.lock_file, (0, time.time() - 42))
        shown = summarize_run(folder)
        assert shown.state_text == ("running, not responding for 42 s" if silent else "running")
        lock.beat()
        assert summarize_run(folder).silent_seconds is None
    os.utime(folder.lock_file, (0, 0))
    assert summarize_run(folder).silent_seconds is None, "one that has ended is not silent"


def test_the_dashboard_shows_it(folder: RunFolder) -> None:
    with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host="elsewhere", heartbeat=2.0)
        os.utime(folder.lock_file, (0, time.time() - 42))
        run = summarize_run(folder)
    row = build_row(folder, run.view, run.state, run.spec, now=time.time(), silent_seconds=run.silent_seconds)
    assert row.silence == "not responding for 42 s" and "its file system cannot be written" in str(row.problem)
    from mg_tui.tui.runs.snapshot import build_curves
    from mg_tui.tui.widgets.run.head import head_lines

    detail = build_detail(row, run.view, run.spec, build_curves(run.view), now=time.time())
    assert "not responding for 42 s" in head_lines(detail, 100)[0].plain


def test_clocks_and_missing_files(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert seconds_silent(lock, time.time()) is None
    lock.touch()
    assert seconds_silent(lock, time.time() - 86_400) is None, "a clock that was set back"
    assert describe_silence(seconds_silent(lock, time.time() + 20) or 0).startswith("not responding for 20")
    assert "suspended or overloaded" in explain_silence(os.getpid(), "elsewhere")


def test_a_lock_knows_whether_its_file_is_in_place(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with RunLock(home / "lock") as lock:
        assert lock.in_place
        home.rename(tmp_path / "elsewhere")
        assert not lock.in_place
        home.mkdir()
        (home / "lock").touch()
        assert not lock.in_place, "another file of that name"

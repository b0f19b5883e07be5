"""Writing: numbered, whole lines only, one writer, whatever the disk does."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mg_tui.core.errors import EnvironmentProblem, RunFailed
from mg_tui.runs.journal import JournalReader, JournalWriter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_bytes().splitlines()]


def test_numbers_go_on_after_reopening(path: Path) -> None:
    for _ in range(3):
        with JournalWriter(path) as journal:
            journal.write("phase", name="a")
            journal.write("phase", name="b")
    assert numbers(path) == [1, 2, 3, 4, 5, 6]


def test_an_event_comes_back_as_it_was_written(path: Path) -> None:
    with JournalWriter(path) as journal:
        written = journal.write("warning", what='new\nline "quoted" \udce4 \u2028', loss=float("inf"), rows=[1, 2])
    (read,) = JournalReader(path).read_new()
    assert (read.n, read.kind) == (1, "warning")
    assert read.data == {**written.data, "loss": "inf"}
    assert path.read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("kind", ["steps", "", "Started"])
def test_an_unknown_kind_is_refused(path: Path, kind: str) -> None:
    with JournalWriter(path) as journal:
        with pytest.raises(ValueError, match="unknown event kind"):
            journal.write(kind)
        assert journal.write("phase").n == 1


def test_a_field_cannot_take_the_place_of_the_head(path: Path) -> None:
    with JournalWriter(path) as journal, pytest.raises(ValueError, match="reserved event field name: n"):
        journal.write("phase", n=7)


def test_a_second_writer_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with JournalWriter(path), pytest.raises(RunFailed, match="already running"):
        JournalWriter(path)
    with JournalWriter(path) as journal:
        assert journal.write("phase").n == 1


def test_a_torn_last_line_is_set_aside_and_said(path: Path) -> None:
    with JournalWriter(path) as journal:
        journal.write("phase", name="a")
    with path.open("ab") as file:
        file.write(b'{"v":1,"n":2,"t":1.0,"kind":"ph')
    with JournalWriter(path) as journal:
        assert journal.write("phase", name="b").n == 3
        assert journal.torn_file.read_bytes() == b'{"v":1,"n":2,"t":1.0,"kind":"ph\n'
    events = JournalReader(path).read_new()
    assert [(e.n, e.kind) for e in events] == [(1, "phase"), (2, "warning"), (3, "phase")]
    assert "incomplete" in events[1].data["what"]


def test_a_file_of_nothing_but_a_torn_line(path: Path) -> None:
    path.write_bytes(b"\0" * 200_000)
    with JournalWriter(path) as journal:
        assert journal.write("phase").n == 2
    assert numbers(path) == [1, 2]


def test_broken_lines_keep_their_numbers(path: Path) -> None:
    with JournalWriter(path) as journal:
        journal.write("phase")
    with path.open("ab") as file:
        file.write(b"rubbish\n\xff\xfe\n")
    with JournalWriter(path) as journal:
        assert journal.write("phase").n == 4
    reader = JournalReader(path)
    assert [e.n for e in reader.read_new()] == [1, 4]
    assert (reader.corrupt_lines, reader.missing) == (2, 0)


def test_a_child_by_fork_cannot_write_and_does_not_keep_the_journal_locked(path: Path) -> None:
    journal = JournalWriter(path)
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:  # a data loader's worker that outlives its parent's use of the journal
        status = 1
        try:
            journal.write("phase")
        except ValueError:
            status = 0
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        os._exit(status)
    os.read(ready[0], 1)
    journal.close()
    with JournalWriter(path) as again:
        assert again.write("phase").n == 1
    os.write(done[1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for fd in (*ready, *done):
        os.close(fd)


FULL = """
import resource, sys
from pathlib import Path
from mg_tui.core.errors import EnvironmentProblem
from mg_tui.runs.journal import JournalWriter

journal = JournalWriter(Path(sys.argv[1]))
refused = written = 0
{limit}
while not refused:
    try:
        journal.write("phase", name="x" * 100)
        written += 1
    except EnvironmentProblem as error:
        assert error.exit_code == 3, error
        assert error.hint in ("free space on this disk", "raise the limit: ulimit -f unlimited"), error
        refused += 1
text = Path(sys.argv[1]).read_bytes()
assert text.endswith(b"\\n") and text.count(b"\\n") == written, text[-200:]
{room}
assert journal.write("phase", name="after").n == written + 1
"""


def run_full(path: Path, *, limit: str, room: str) -> "subprocess.CompletedProcess[str]":
    script = path.with_name("full.py")
    script.write_text(FULL.format(limit=limit, room=room))
    return subprocess.run([sys.executable, str(script), str(path)], capture_output=True, text=True, check=False)


def test_a_full_disk_leaves_no_half_line_and_no_gap(path: Path) -> None:
    """The file-size limit is not a multiple of a line, so that the last write gets part of its line through."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    done = run_full(
        path,
        limit=f"resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, {hard}))",
        room=f"resource.setrlimit(resource.RLIMIT_FSIZE, ({hard}, {hard}))",
    )
    assert done.returncode == 0, done.stderr
    reader = JournalReader(path)
    events = reader.read_new()
    assert [e.n for e in events] == list(range(1, len(events) + 1))
    assert events[-1].data == {"name": "after"}
    assert reader.corrupt_lines == 0


def test_a_really_full_file_system(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=64k none "{disk}" && exec "$@"'
    before = ("unshare", "-m", "sh", "-c", mount, "sh")
    try:
        able = subprocess.run([*before, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("no right to mount a file system here")
    script = tmp_path / "full.py"
    filler = disk / "filler"
    script.write_text(
        FULL.format(limit=f"Path({str(filler)!r}).write_bytes(b'x' * 30_000)", room=f"Path({str(filler)!r}).unlink()")
    )
    command = [*before, sys.executable, str(script), str(disk / "events.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_failed_write_that_cannot_be_cut_off_at_once_is_cut_off_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = JournalWriter(path)
    journal.write("phase", name="a")
    real_write, real_cut = os.write, os.ftruncate

    def half(fd: int, data: bytes) -> int:
        if len(data) < 30:
            raise OSError(28, "No space left on device")
        return real_write(fd, data[:30])

    def refuse(fd: int, size: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "write", half)
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(EnvironmentProblem, match="Cannot write the journal"):
        journal.write("phase", name="b")
    assert not path.read_bytes().endswith(b"\n")
    with pytest.raises(EnvironmentProblem):
        journal.write("phase", name="b")
    monkeypatch.setattr(os, "write", real_write)
    monkeypatch.setattr(os, "ftruncate", real_cut)
    assert journal.write("phase", name="c").n == 2
    journal.close()
    assert numbers(path) == [1, 2]


def test_each_event_is_one_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    with JournalWriter(path) as journal:
        real = os.write

        def record(fd: int, data: bytes) -> int:
            written.append(data)
            return real(fd, data)

        monkeypatch.setattr(os, "write", record)
        journal.write("sample", answer="long " * 50_000)
    assert len(written) == 1
    assert written[0].endswith(b"}\n")


def test_what_must_survive_a_power_cut_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    with JournalWriter(path) as journal:
        monkeypatch.setattr(os, "fsync", synced.append)
        journal.write("step", step=1)
        assert synced == []
        for kind in ("created", "started", "checkpoint", "finished", "stopped", "failed"):
            journal.write(kind)
    assert len(synced) == 6


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="Cannot open the journal"):
        JournalWriter(tmp_path / "no" / "events.jsonl")

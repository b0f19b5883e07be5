"""Whether and from where a run can go on, as a face sees it."""

import json

import pytest

from mg_tui.core.errors import UsageError
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.resume import find_resume_target, newest_checkpoint


def write_events(folder: RunFolder, *kinds: str, step: int = 0) -> None:
    with JournalWriter(folder.journal_file) as journal:
        for kind in kinds:
            more = {"step": step} if kind in ("step", "stopped") else {}
            journal.write(kind, **({"pid": 1, "attempt": 1} if kind == "started" else more))


def write_checkpoint(folder: RunFolder, step: int, text: str = "weights") -> None:
    path = folder.checkpoints_dir / f"step-{step:06d}"
    path.mkdir(parents=True)
    (path / "w").write_text(text)
    (path / "checkpoint.json").write_text(json.dumps({"step": step, "files": {"w": {"bytes": 7, "crc32": 0}}}))


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        (("started", "finished"), "is already finished"),
        (("queued",), "is already queued"),
        (("started", "step"), "no valid checkpoint to resume from"),
    ],
)
def test_what_cannot_be_gone_on_with(folder: RunFolder, kinds: tuple[str, ...], says: str) -> None:
    write_events(folder, *kinds)
    with pytest.raises(UsageError, match=says) as caught:
        find_resume_target(folder)
    assert "model-garden runs" in str(caught.value.hint)


def test_one_that_lives(folder: RunFolder) -> None:
    write_events(folder, "started")
    with RunLock(folder.lock_file), pytest.raises(UsageError, match="is running"):
        find_resume_target(folder)


def test_from_the_newest_whole_checkpoint(folder: RunFolder) -> None:
    write_events(folder, "started", "step", step=12)
    write_checkpoint(folder, 5)
    write_checkpoint(folder, 10)
    write_checkpoint(folder, 11, "torn")
    (folder.checkpoints_dir / ".writing-step-000012").mkdir()
    found = find_resume_target(folder)
    assert (found.step, found.last_step, found.attempts) == (10, 12, 1)
    assert found.summary == "from the checkpoint at step 10; 2 steps will be repeated"


def test_from_the_beginning_only_when_asked(folder: RunFolder) -> None:
    write_events(folder, "started")
    assert newest_checkpoint(folder) is None
    found = find_resume_target(folder, from_start=True)
    assert found.step is None and "from step 0" in found.summary


def test_a_spec_that_cannot_be_read_is_said(folder: RunFolder) -> None:
    write_events(folder, "started")
    write_checkpoint(folder, 1)
    folder.spec_file.write_text("{")
    with pytest.raises(UsageError, match="Cannot read the run's spec"):
        find_resume_target(folder)

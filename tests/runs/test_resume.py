"""Whether and from where a run can go on, as a face sees it."""

import json

import pytest

from mg_tui.core.errors import UsageError
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.resume import newest_checkpoint, resumable


def tell(folder: RunFolder, *kinds: str, step: int = 0) -> None:
    with JournalWriter(folder.journal_file) as journal:
        for kind in kinds:
            more = {"step": step} if kind in ("step", "stopped") else {}
            journal.write(kind, **({"pid": 1, "attempt": 1} if kind == "started" else more))


def save(folder: RunFolder, step: int, text: str = "weights") -> None:
    path = folder.checkpoints_dir / f"step-{step:06d}"
    path.mkdir(parents=True)
    (path / "w").write_text(text)
    (path / "checkpoint.json").write_text(json.dumps({"step": step, "files": {"w": {"bytes": 7, "crc32": 0}}}))


@pytest.mark.parametrize(
    ("kinds", "says"),
    [(("started", "finished"), "is finished"), (("queued",), "is queued"), (("started", "step"), "nothing to go on")],
)
def test_what_cannot_be_gone_on_with(folder: RunFolder, kinds: tuple[str, ...], says: str) -> None:
    tell(folder, *kinds)
    with pytest.raises(UsageError, match=says) as caught:
        resumable(folder)
    assert "model-garden runs" in str(caught.value.hint)


def test_one_that_lives(folder: RunFolder) -> None:
    tell(folder, "started")
    with RunLock(folder.lock_file), pytest.raises(UsageError, match="is running"):
        resumable(folder)


def test_from_the_newest_whole_checkpoint(folder: RunFolder) -> None:
    tell(folder, "started", "step", step=12)
    save(folder, 5)
    save(folder, 10)
    save(folder, 11, "torn")
    (folder.checkpoints_dir / ".writing-step-000012").mkdir()
    found = resumable(folder)
    assert (found.step, found.reached, found.attempts) == (10, 12, 1)
    assert found.said == "from the checkpoint of step 10; 2 steps after it are done again"


def test_from_the_beginning_only_when_asked(folder: RunFolder) -> None:
    tell(folder, "started")
    assert newest_checkpoint(folder) is None
    found = resumable(folder, from_start=True)
    assert found.step is None and "from the beginning" in found.said


def test_a_spec_that_cannot_be_read_is_said(folder: RunFolder) -> None:
    tell(folder, "started")
    save(folder, 1)
    folder.spec_file.write_text("{")
    with pytest.raises(UsageError, match="spec cannot be read"):
        resumable(folder)

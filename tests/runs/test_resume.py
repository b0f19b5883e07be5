"""Whether and from where a run can go on, as a face sees it."""

import json
import time
import zlib
from pathlib import Path

import pytest

from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder, spec_digest
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.resume import commit_resume_target, find_resume_target, newest_checkpoint
from tests.runs.conftest import write_at


def write_events(folder: RunFolder, *kinds: str, step: int = 0) -> None:
    with JournalWriter(folder.journal_file) as journal:
        for kind in kinds:
            more = {"step": step} if kind in ("step", "stopped") else {}
            journal.write(kind, **({"pid": 1, "attempt": 1} if kind == "started" else more))


def write_checkpoint(folder: RunFolder, step: int, text: str = "weights") -> None:
    path = folder.checkpoints_dir / f"step-{step:06d}"
    path.mkdir(parents=True)
    (path / "w").write_text(text)
    (path / "checkpoint.json").write_text(
        json.dumps({"step": step, "files": {"w": {"bytes": 7, "crc32": zlib.crc32(b"weights")}}})
    )


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


def change_spec(folder: RunFolder, **changed: object) -> None:
    folder.spec_file.write_text(json.dumps({**folder.spec_values(), **changed}))


def test_a_changed_spec_is_refused_and_what_differs_is_named(folder: RunFolder) -> None:
    write_events(folder, "started", "step", step=5)
    write_checkpoint(folder, 5)
    before = folder.spec_file.read_bytes()
    change_spec(folder, seed=7, learning_rate=0.00021)
    with pytest.raises(UsageError, match="was changed") as caught:
        find_resume_target(folder)
    assert "seed was 42 and is 7" in str(caught.value.why) and "learning_rate was 2e-05 and is 0.00021" in str(
        caught.value.why
    )
    assert "--accept-spec" in str(caught.value.hint)
    commit_resume_target(find_resume_target(folder, accept_spec=True), accept_spec=True, by="me")
    assert find_resume_target(folder).step == 5, "accepted once and for all"
    folder.spec_file.write_bytes(before)
    with pytest.raises(UsageError, match="seed was 7 and is 42"):
        find_resume_target(folder)


def test_formatting_alone_is_no_change(folder: RunFolder) -> None:
    write_events(folder, "started", "step", step=5)
    write_checkpoint(folder, 5)
    folder.spec_file.write_text(json.dumps(dict(reversed(folder.spec_values().items()))))
    assert find_resume_target(folder).step == 5


def test_a_journal_of_an_older_version_has_the_digest_alone(folder: RunFolder) -> None:
    folder.journal_file.unlink()
    with JournalWriter(folder.journal_file) as journal:
        journal.write("created", spec_digest=spec_digest(folder.read_spec()))
        journal.write("started", pid=1, attempt=1)
    assert find_resume_target(folder, from_start=True).step is None
    change_spec(folder, seed=7)
    with pytest.raises(UsageError, match="another digest"):
        find_resume_target(folder, from_start=True)


def test_a_damaged_checkpoint_is_not_promised(folder: RunFolder) -> None:
    """Same size, other bytes: the worker skips it, so nothing may say that the run resumes from there."""
    write_events(folder, "started", "step", step=7)
    write_checkpoint(folder, 4)
    write_checkpoint(folder, 6, "wEights")
    assert find_resume_target(folder).summary == "from the checkpoint at step 4; 3 steps will be repeated"
    with pytest.raises(UsageError, match=r"step 6 .* is damaged") as caught:
        find_resume_target(folder, at="6")
    assert "the content of w" in str(caught.value.why)


def test_an_output_folder_that_was_taken_is_found_when_resuming_and_another_can_be_named(
    tmp_path: Path, spec: TrainingSpec
) -> None:
    output, other = tmp_path / "out", tmp_path / "other"
    run = RunFolder.create(tmp_path / "home", spec.model_copy(update={"output_dir": str(output)}))
    with JournalWriter(run.journal_file) as journal:
        journal.write("started", pid=1, attempt=1)
        journal.write("stopped", step=0, checkpoint=None, by="me")
    find_resume_target(run, from_start=True)
    assert not output.exists(), "looking leaves nothing"
    (output / ".out.part-run").mkdir(parents=True)
    find_resume_target(run, from_start=True)
    (output / "model.safetensors").touch()
    with pytest.raises(UsageError, match="not empty") as caught:
        find_resume_target(run, from_start=True)
    assert f"runs resume {run.id} --output-dir" in str(caught.value.hint)
    with pytest.raises(UsageError, match="not empty"):
        find_resume_target(run, from_start=True, output_dir=output)

    commit_resume_target(find_resume_target(run, from_start=True, output_dir=other), by="me")
    assert run.read_spec().output_dir == str(other)
    assert run.read_spec() == spec.model_copy(update={"output_dir": str(other)}), "and nothing else"
    find_resume_target(run, from_start=True)  # the journal has the changed spec


@pytest.fixture
def priced(tmp_path: Path, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of one hour that may cost 20, a day ago; the machine costs 20 an hour."""
    monkeypatch.setenv("MODEL_GARDEN_COST_PER_HOUR", "20")
    run = RunFolder.create(tmp_path / "home", spec.model_copy(update={"max_cost": 20.0}))
    began = time.time() - 86_400.0
    write_at(run, began, "started", pid=1, attempt=1)
    write_at(run, began + 3600.0, "stopped", step=7, checkpoint=None, by="max_cost (20.00 EUR)")
    return run


def test_a_run_that_has_cost_what_it_may_resumes_with_more(priced: RunFolder) -> None:
    for refused in (None, 10.0, 20.0):
        with pytest.raises(UsageError, match=r"has cost 20\.00 EUR, and may cost (2|1)0\.00") as caught:
            find_resume_target(priced, from_start=True, max_cost=refused)
        assert f"runs resume {priced.id} --max-cost 40.00" in str(caught.value.hint)
    before = priced.read_spec()
    commit_resume_target(find_resume_target(priced, from_start=True, max_cost=50.0), by="me")
    assert priced.read_spec() == before.model_copy(update={"max_cost": 50.0}), "and nothing else"
    find_resume_target(priced, from_start=True)  # the journal has the changed spec, and the day is not counted


def test_a_limit_of_the_cost_needs_a_price(
    priced: RunFolder, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODEL_GARDEN_COST_PER_HOUR")
    with pytest.raises(UsageError, match="not known without a price"):
        find_resume_target(priced, from_start=True)
    write_events(folder, "started", "stopped")
    with pytest.raises(UsageError, match="not known without a price"):
        find_resume_target(folder, from_start=True, max_cost=5.0)
    assert find_resume_target(folder, from_start=True).changed == {}

"""The numbers of a run from a journal with damaged lines."""

import json
from pathlib import Path

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.monitoring.run_history import read_run_history
from mg_tui.engine.run.worker import run_worker
from mg_tui.runs import queue
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader, JournalWriter
from tests.runs.conftest import write_at


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, TrainingSpec(base_model="tiny", dataset=str(tmp_path / "none.jsonl")))


def test_one_flipped_bit_in_the_journal_ends_no_run(folder: RunFolder) -> None:
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, attempt=1)
        for step in range(1, 5):
            journal.write("step", step=step, loss=1 / step, supervised_tokens=10)
    data = folder.journal_file.read_bytes()
    folder.journal_file.write_bytes(data.replace(b'"step":3', b'"stgp":3'))
    history = read_run_history(folder)
    assert (history.attempts, history.final_loss, history.supervised_tokens) == (1, 0.25, 30)
    assert history.damaged_lines == 1 and "line 1 after event 4" in history.damage[0]
    # The worker names it, and gets as far as the dataset, which is missing.
    assert run_worker(folder.path) == 2
    events = JournalReader(folder.journal_file).read_new()
    (warning,) = [event.data for event in events if event.kind == "warning"]
    assert "1 line of the journal" in warning["what"] and "checksum differs" in warning["why"]
    assert [event.data["attempt"] for event in events if event.kind == "started"] == [1, 2]
    assert "none.jsonl" in str([event.data for event in events if event.kind == "failed"])


def test_a_worker_does_not_train_with_a_changed_spec(folder: RunFolder) -> None:
    folder.spec_file.write_text(json.dumps({**folder.spec_values(), "seed": 7}))
    assert run_worker(folder.path) == 2
    (failed,) = [event.data for event in JournalReader(folder.journal_file).read_new() if event.kind == "failed"]
    assert "seed was 42 and is 7" in failed["why"]


def test_a_run_that_started_leaves_no_queue_record(folder: RunFolder) -> None:
    queue.enqueue(folder, ("cpu",), "me")
    assert (folder.path / queue.QUEUE_FILE).exists()
    assert run_worker(folder.path) == 2
    assert not (folder.path / queue.QUEUE_FILE).exists()


@pytest.mark.parametrize(("end", "lasted"), [("stopped", 40.0), ("failed", 40.0), (None, 30.0)])
def test_the_time_between_attempts_is_not_of_the_run(folder: RunFolder, end: str | None, lasted: float) -> None:
    """A run that is resumed a day later has not cost this day."""
    write_at(folder, 1000.0, "started", pid=1, attempt=1)
    write_at(folder, 1030.0, "step", step=1, loss=1.0)
    if end is not None:
        write_at(folder, 1040.0, end, step=1)
    assert read_run_history(folder).seconds == lasted
    write_at(folder, 90_000.0, "spec_accepted", spec_digest="", spec={})
    assert read_run_history(folder).seconds == lasted
    write_at(folder, 90_001.0, "started", pid=1, attempt=2)
    write_at(folder, 90_011.0, "step", step=2, loss=1.0)
    assert read_run_history(folder).seconds == lasted + 10.0
    assert read_run_history(folder, now=90_021.0).seconds == lasted + 20.0

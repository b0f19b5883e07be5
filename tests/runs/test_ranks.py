"""What the training processes of a run say of themselves, and what is said of one that was lost."""

import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mg_tui.cli.main import cli
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.ranks import LostRank, NoteWriter, RankNote, RankNotes
from mg_tui.runs.records import describe_rank, read_ranks
from mg_tui.runs.watch import RunWatch


def ranks_event(**second: Any) -> list[dict[str, Any]]:
    """Two processes, the second of them with other values."""
    first = {"rank": 0, "pid": 11, "step": 7, "doing": "waiting for the others", "seconds": 0.5, "silent": 0.4}
    first |= {"device_memory": 3 << 30, "host_memory": 9 << 30, "utilization": 97.2}
    return [first, {**first, "rank": 1, "pid": 12, **second}]


def test_a_note_is_read_back_and_replaced(tmp_path: Path) -> None:
    notes = RankNotes(tmp_path)
    assert notes.read(1) is None and notes.seconds_silent(1, time.time()) is None
    writer = NoteWriter(notes.path(1))
    writer.write(RankNote(1, pid=5, host="here", step=12345, rows=tuple(range(99)), doing="computing"))
    writer.write(RankNote(1, pid=5, host="here", step=2, rows=(3, 4)))
    writer.close()
    note = notes.read(1)
    assert note is not None and (note.step, note.rows, note.doing) == (2, (3, 4), "")
    assert notes.read_all() == [note]
    silent = notes.seconds_silent(1, time.time() + 60)
    assert silent is not None and 59 < silent < 90
    notes.path(1).write_text('{"rank": 1, "st')
    assert notes.read(1) is None, "it is being written"
    notes.clear()
    assert notes.read_all() == []


@pytest.mark.parametrize(
    ("error", "what", "step"),
    [
        ({}, "training process 1 was killed (SIGKILL)", 7),
        ({"error": "DataError", "what": "row 3 is gone", "why": "no file"}, "training process 1: row 3 is gone", 7),
        ({"error": "StepFailed", "what": "no memory", "step": 6, "rows": [9]}, "training process 1: no memory", 6),
    ],
)
def test_a_lost_process_is_named_with_its_step_and_rows(
    tmp_path: Path, error: dict[str, Any], what: str, step: int
) -> None:
    notes = RankNotes(tmp_path)
    notes.clear()
    assert notes.wait_for_lost(0) is None
    notes.write_lost(LostRank(1, "was killed (SIGKILL)", RankNote(1, step=7, rows=(3, 4)), error))
    lost = notes.wait_for_lost(0)
    assert lost is not None
    record = lost.failure("checkpoint of step 6 saved")
    assert record["what"] == what
    assert (record["rank"], record["step"]) == (1, step)
    assert record["rows"] == ([9] if step == 6 else [3, 4])
    assert record["why"] == ("no file; " if "why" in error else "") + "checkpoint of step 6 saved"


def test_what_is_said_of_each(tmp_path: Path) -> None:
    slow = read_ranks(ranks_event(step=6, seconds=0.75, doing="computing", silent=8.2, device_memory=None))
    assert describe_rank(slow[0], slow) == ["step 7", "waiting for the others", "0.50 s", "3.0 GiB", "97 %"]
    assert describe_rank(slow[1], slow) == [
        "step 6 (1 behind)",
        "computing",
        "0.75 s (+0.25)",
        "9.0 GiB",
        "97 %",
        "silent for 8 s",
    ]
    assert read_ranks("nonsense") == read_ranks([3]) == ()
    (bare,) = read_ranks([{"rank": "x", "seconds": "nan"}])
    assert describe_rank(bare, [bare]) == ["step 0"]


def test_show_lists_every_process(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, TrainingSpec(base_model="tiny", dataset="d"), versions={})
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=11, host="h", attempt=1)
        journal.write("ranks", ranks=ranks_event(doing="com\x1b[31mputing"))
    watch = RunWatch(folder)
    watch.refresh()
    assert [state.pid for state in watch.view.ranks] == [11, 12]
    shown = CliRunner().invoke(cli, ["--home", str(tmp_path), "runs", "show", folder.id])
    lines = [line for line in shown.output.splitlines() if line.startswith("rank ")]
    assert lines[0] == "rank     0: step 7, waiting for the others, 0.50 s, 3.0 GiB, 97 %"
    assert len(lines) == 2 and "\x1b" not in lines[1]
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=13, host="h", attempt=2)
    watch.refresh()
    assert watch.view.ranks == (), "those of an earlier attempt are gone"

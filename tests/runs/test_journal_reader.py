"""Reading: incremental, patient with a torn line, honest about broken ones, quick for a million."""

import json
import threading
from pathlib import Path

import pytest

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.events import Event
from mg_tui.runs import journal_reader as reading
from mg_tui.runs.journal import JournalReader, JournalWriter
from mg_tui.runs.journal_reader import THIN_TO
from mg_tui.runs.view import RunView


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def step_lines(first: int, last: int) -> bytes:
    """Lines of a journal whose numbers are the steps'."""
    return b"".join(
        Event(n, 1000.0 + n, "step", {"step": n, "loss": 1 / n, "seconds": 0.5, "tokens": 100}).to_line().encode()
        for n in range(first, last + 1)
    )


def test_no_journal_is_no_events(path: Path) -> None:
    assert JournalReader(path).read_new() == []


def test_only_what_is_new_is_read(path: Path) -> None:
    reader = JournalReader(path)
    with JournalWriter(path) as journal:
        journal.write("phase", name="a")
        assert [e.n for e in reader.read_new()] == [1]
        assert reader.read_new() == []
        journal.write("phase", name="b")
        journal.write("phase", name="c")
        assert [e.n for e in reader.read_new()] == [2, 3]
    assert reader.offset == path.stat().st_size


def test_a_torn_line_waits_for_its_rest(path: Path) -> None:
    whole = step_lines(1, 2)
    reader = JournalReader(path)
    seen: list[int] = []
    for end in range(0, len(whole) + 1, 7):
        path.write_bytes(whole[:end])
        seen += [e.n for e in reader.read_new()]
    path.write_bytes(whole)
    seen += [e.n for e in reader.read_new()]
    assert seen == [1, 2]
    assert reader.corrupt_lines == 0


def test_a_torn_line_that_is_taken_back_was_never_there(path: Path) -> None:
    reader = JournalReader(path)
    path.write_bytes(step_lines(1, 1) + b'{"v":1,"n":2,"half')
    assert [e.n for e in reader.read_new()] == [1]
    path.write_bytes(step_lines(1, 2))
    assert [e.n for e in reader.read_new()] == [2]
    assert (reader.corrupt_lines, reader.missing) == (0, 0)


@pytest.mark.parametrize(
    "broken",
    [
        b"not json",
        b"",
        b"[1]",
        b'{"n":2}',
        b'{"v":1,"n":null,"t":1,"kind":"x"}',
        b'{"v":1,"n":Infinity,"t":1,"kind":"x"}',
        b'{"v":1,"n":1,"t":1,"kind":"phase"}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
    ],
)
def test_a_broken_line_is_counted_and_passed_over(path: Path, broken: bytes) -> None:
    path.write_bytes(step_lines(1, 1) + broken + b"\n" + step_lines(3, 3))
    reader = JournalReader(path)
    assert [e.n for e in reader.read_new()] == [1, 3]
    assert (reader.corrupt_lines, reader.missing) == (1, 0)


def test_missing_events_are_counted(path: Path) -> None:
    path.write_bytes(step_lines(1, 3) + step_lines(7, 8))
    reader = JournalReader(path)
    assert len(reader.read_new()) == 5
    assert reader.missing == 3


def test_kinds_and_versions_of_the_future_are_read(path: Path) -> None:
    path.write_bytes(b'{"v":9,"n":1,"t":1.5,"kind":"telepathy","new":{"a":[1]}}\n')
    (event,) = JournalReader(path).read_new()
    assert (event.v, event.kind, event.data) == (9, "telepathy", {"new": {"a": [1]}})
    RunView().apply([event])


def test_a_journal_replaced_by_a_shorter_copy_is_read_anew(path: Path) -> None:
    path.write_bytes(step_lines(1, 9))
    reader = JournalReader(path)
    reader.read_new()
    path.write_bytes(step_lines(1, 2))
    assert [e.n for e in reader.read_new()] == [1, 2]


def test_a_line_longer_than_a_chunk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_CHUNK_BYTES", 64)
    with JournalWriter(path) as journal:
        journal.write("phase", name="short")
        journal.write("sample", answer="x" * 1_000)
        journal.write("phase", name="short")
    assert [e.n for e in JournalReader(path).read_new()] == [1, 2, 3]


def test_unreadable_is_an_error_that_says_so(path: Path) -> None:
    path.mkdir()
    with pytest.raises(EnvironmentProblem, match="Cannot read the journal"):
        JournalReader(path).read_new()


def test_readers_see_every_event_once_while_it_is_written(path: Path) -> None:
    count, seen = 2_000, [[], [], []]  # type: ignore[var-annotated]
    over = threading.Event()

    def read(into: list[int]) -> None:
        reader = JournalReader(path)
        while True:
            last = over.is_set()
            into.extend(e.n for e in reader.read_new())
            if last:
                assert reader.corrupt_lines == reader.missing == 0
                return

    threads = [threading.Thread(target=read, args=(into,)) for into in seen]
    for thread in threads:
        thread.start()
    with JournalWriter(path) as journal:
        for number in range(count):
            journal.write("step", step=number, text="y" * (number % 300))
    over.set()
    for thread in threads:
        thread.join()
    assert all(into == list(range(1, count + 1)) for into in seen)


def read_thinned(path: Path) -> list[Event]:
    return [event for events in JournalReader(path).chunks(thin=True) for event in events]


def test_thinning_keeps_everything_but_steps_and_the_newest_step(path: Path) -> None:
    talk = Event(30_001, 1.0, "warning", {"what": 'the text "kind":"step" in a warning'}).to_line().encode()
    path.write_bytes(step_lines(1, 30_000) + talk + step_lines(30_002, 60_000) + b"{torn")
    events = read_thinned(path)
    assert 5_000 < len(events) < 25_000
    assert [e.n for e in events if e.kind == "warning"] == [30_001]
    assert events[-1].n == 60_000
    assert events[-1].data["step"] == 60_000


def test_thinning_leaves_short_journals_alone(path: Path) -> None:
    path.write_bytes(step_lines(1, 5_000))
    assert len(read_thinned(path)) == 5_000


def test_thinning_counts_what_is_broken_or_missing(path: Path) -> None:
    path.write_bytes(
        step_lines(1, 30_000) + b'{"v":1,"n":30001,"t":1.0,"kind":"step","st\n' + step_lines(30_012, 60_000)
    )
    reader = JournalReader(path)
    for _ in reader.chunks(thin=True):
        pass
    assert (reader.corrupt_lines, reader.missing) == (1, 10)


def test_what_follows_a_thinned_reading_is_read_whole(path: Path) -> None:
    path.write_bytes(step_lines(1, 50_000))
    reader = JournalReader(path)
    list(reader.chunks(thin=True))
    with path.open("ab") as file:
        file.write(step_lines(50_001, 50_100))
    assert [e.n for events in reader.chunks(thin=True) for e in events] == list(range(50_001, 50_101))


def test_ends_only_passes_over_the_middle(path: Path) -> None:
    path.write_bytes(step_lines(1, 10_000))
    reader = JournalReader(path)
    found = [e.n for events in reader.chunks(ends_only=10_000) for e in events]
    assert found[0] == 1
    assert found[-1] == 10_000
    assert len(found) < 300
    assert (reader.corrupt_lines, reader.missing) == (0, 0)
    assert reader.offset == path.stat().st_size


def test_of_a_large_journal_few_step_events_are_parsed(path: Path) -> None:
    """200,000 step events cost the parsing of about THIN_TO of them."""
    line = json.loads(step_lines(1, 1))
    text = json.dumps({**line, "n": 0, "step": -1}, separators=(",", ":"))
    head, mid, tail = text.replace('"n":0', '"n":@').replace('"step":-1', '"step":@').split("@")
    path.write_text("".join(f"{head}{n}{mid}{n}{tail}\n" for n in range(1, 200_001)))
    view, reader, parsed = RunView(), JournalReader(path), 0
    for events in reader.chunks(thin=True):
        parsed += len(events)
        view.apply(events)
    assert THIN_TO / 2 < parsed < 1.2 * THIN_TO
    assert view.step == 200_000
    assert view.series.steps[-1] == 200_000
    assert reader.missing == 0

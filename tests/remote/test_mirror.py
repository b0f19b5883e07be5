"""Copies of run folders on this machine: byte for byte, never half a run, never a path that the server chooses."""

import subprocess
import sys
from pathlib import Path

import pytest

from mg_tui.remote.address import parse_server_url
from mg_tui.remote.mirror import Mirror

ADDRESS = parse_server_url("http://127.0.0.1:8000")
RUN = "20261130-120000-aaaa"


def record(run_id=RUN, text="", *, at=0, log=None, files=None) -> dict:
    return {"id": run_id, "journal": {"at": at, "text": text}, "log": log, "files": files}


SPEC = {"spec.json": "{}", "annotations.json": None}


@pytest.fixture
def mirror(tmp_path):
    made = Mirror(tmp_path, ADDRESS)
    yield made
    made.close()


def names(mirror: Mirror) -> list[str]:
    return sorted(path.name for path in (mirror.home / "runs").iterdir() if not path.name.startswith("."))


def test_a_run_is_visible_when_it_is_whole(mirror) -> None:
    assert mirror.write(record(text="a\n", files=SPEC), journal=4, tag="1") > 0
    assert names(mirror) == [] and not mirror.is_complete(RUN, 4, "1")
    mirror.write(record(text="b\n", at=2), journal=4, tag="1")
    assert names(mirror) == [RUN] and mirror.is_complete(RUN, 4, "1")
    assert (mirror.home / "runs" / RUN / "events.jsonl").read_bytes() == b"a\nb\n"
    assert not mirror.is_complete(RUN, 5, "1") and not mirror.is_complete(RUN, 4, "2")


def test_bytes_that_are_no_text_stay_what_they_are(mirror) -> None:
    data = b"\xff\xfe\xf0\x9f caf\xc3"
    mirror.write(record(text=data.decode("utf-8", "surrogateescape"), files=SPEC), journal=len(data), tag="1")
    more = b"\xa9\n".decode("utf-8", "surrogateescape")
    mirror.write(record(text=more, at=len(data)), journal=len(data) + 2, tag="1")
    assert (mirror.home / "runs" / RUN / "events.jsonl").read_bytes() == data + b"\xa9\n"


def test_a_part_that_does_not_continue_the_copy_is_not_added(mirror) -> None:
    mirror.write(record(text="a\n", files=SPEC), journal=2, tag="1")
    assert mirror.write(record(text="x\n", at=1), journal=2, tag="1") == 0
    assert mirror.write(record(text="x\n", at=7), journal=2, tag="1") == 0
    assert (mirror.home / "runs" / RUN / "events.jsonl").read_bytes() == b"a\n"


def test_what_was_written_since_the_server_spoke_waits_for_its_next_word(mirror) -> None:
    mirror.write(record(text="a\nstarted\n", files=SPEC), journal=2, tag="1")
    assert (mirror.home / "runs" / RUN / "events.jsonl").read_bytes() == b"a\n" and mirror.is_complete(RUN, 2, "1")
    mirror.write(record(text="started\n", at=2), journal=10, tag="1")
    assert (mirror.home / "runs" / RUN / "events.jsonl").read_bytes() == b"a\nstarted\n"


def test_small_files_come_and_go(mirror) -> None:
    folder = mirror.home / "runs" / RUN
    mirror.write(record(text="a\n", files={**SPEC, "annotations.json": '{"note":"x"}'}), journal=2, tag="1")
    assert (folder / "annotations.json").read_text() == '{"note":"x"}'
    mirror.write(record(at=2, files=SPEC), journal=2, tag="2")
    assert not (folder / "annotations.json").exists() and mirror.is_complete(RUN, 2, "2")


def test_a_log_begins_at_its_end_and_continues(mirror) -> None:
    log = mirror.home / "runs" / RUN / "worker.log"
    mirror.write(record(text="a\n", files=SPEC), journal=2, tag="1")
    mirror.write(record(at=2, log={"at": 500, "next": 600, "text": "old\n"}), journal=2, tag="1")
    mirror.write(record(at=2, log={"at": 600, "next": 700, "text": "new\n"}), journal=2, tag="1")
    assert log.read_text() == "old\nnew\n" and mirror.copied(RUN) == (2, "1", 700)
    mirror.write(record(at=2, log={"at": 0, "next": 4, "text": "anew\n"}), journal=2, tag="1")  # begun anew there
    assert log.read_text() == "anew\n"


@pytest.mark.parametrize("name", ["../x", "/etc", ".hidden", "a/b", "", "x" * 201, "a\0", None, 7, "..", "a\n"])
def test_a_server_chooses_no_path(mirror, tmp_path, name) -> None:
    with pytest.raises((ValueError, TypeError)):
        mirror.write(record(name, text="a\n", files=SPEC), journal=2, tag="1")
    assert names(mirror) == [] and {path.name for path in tmp_path.iterdir()} - {"laptop"} == {"servers"}


def test_other_files_than_the_known_ones_are_left_out(mirror) -> None:
    mirror.write(record(text="a\n", files={**SPEC, "../../x": "y", "lock": "z", "control": "w"}), journal=2, tag="1")
    kept = sorted(path.name for path in (mirror.home / "runs" / RUN).iterdir())
    assert kept == [".copied.json", "events.jsonl", "spec.json"]


def test_copies_are_kept_for_the_next_command_and_what_is_gone_goes(tmp_path) -> None:
    first = Mirror(tmp_path, ADDRESS)
    first.write(record(text="a\n", files=SPEC, log={"at": 0, "next": 4, "text": "log\n"}), journal=2, tag="1")
    first.write(record("half", text="a\n", files=SPEC), journal=9, tag="1")
    home = first.home
    first.close()
    second = Mirror(tmp_path, ADDRESS)
    assert second.home == home and names(second) == [RUN]
    assert second.copied(RUN) == (2, "1", None)  # where the log of the server continues is not known
    assert second.copied("half") == (0, "", None)
    second.keep_only([])
    assert names(second) == []
    second.close()


def test_another_process_has_copies_of_its_own(tmp_path) -> None:
    first = Mirror(tmp_path, ADDRESS)
    first.write(record(text="a\n", files=SPEC), journal=2, tag="1")
    second = Mirror(tmp_path, ADDRESS)
    assert second.home != first.home and names(second) == [RUN] and second.copied(RUN)[0] == 2
    second.write(record(text="b\n", at=2), journal=4, tag="1")
    assert (first.home / "runs" / RUN / "events.jsonl").read_bytes() == b"a\n"
    second.close()
    assert not second.home.exists() and first.home.exists()
    first.close()


def test_the_copies_of_a_killed_process_are_removed(tmp_path) -> None:
    code = (
        "import os; from pathlib import Path; from mg_tui.remote.mirror import Mirror;"
        "from mg_tui.remote.address import parse_server_url as p; a = p('http://127.0.0.1:8000');"
        f"one, two = Mirror(Path({str(tmp_path)!r}), a), Mirror(Path({str(tmp_path)!r}), a); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len([path for path in (tmp_path / "servers").iterdir() if path.is_dir()]) == 2
    Mirror(tmp_path, ADDRESS).close()
    assert len([path for path in (tmp_path / "servers").iterdir() if path.is_dir()]) == 1


def test_servers_do_not_share_copies(tmp_path) -> None:
    homes = set()
    for url in ("http://127.0.0.1:8000", "http://127.0.0.1:8001", "https://127.0.0.1:8000", "http://[::1]:8000"):
        mirror = Mirror(tmp_path, parse_server_url(url))
        homes.add(mirror.home)
        mirror.close()
    assert len(homes) == 4


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path) -> None:
    from mg_tui.core.errors import EnvironmentProblem

    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot be copied"):
        Mirror(Path(tmp_path / "file"), ADDRESS)


class Answers:
    """A connection with prepared answers; `during` is called when one is asked for."""

    def __init__(self, answer: dict, during) -> None:
        self.get = lambda _path, _query: (during(), answer)[1]
        self.close = lambda: None


def test_a_run_that_starts_or_ends_while_it_is_copied_is_never_a_crashed_one(tmp_path) -> None:
    from mg_tui.remote.copies import JobCopies

    copies = JobCopies(tmp_path, ADDRESS, None)
    seen = []

    def change(text: str, at: int, *, held: bool) -> None:
        job = {"id": RUN, "held": held, "silent": None, "journal": at + len(text), "log": 0, "files": "1"}
        answer = {"data": [record(text=text, at=at, files=SPEC)], "has_more": False}
        copies._connection = Answers(answer, lambda: seen.append(copies.has_process(RUN)))  # type: ignore[assignment]
        copies.take({"full": False, "jobs": [job], "gone": []})
        while copies.copy()[0]:
            pass

    change("stopped\n", 0, held=False)
    assert seen == [False] and not copies.has_process(RUN)
    change("started\n", 8, held=True)
    assert seen == [False, True]  # before the event of its start was copied
    change("finished\n", 16, held=False)
    assert seen == [False, True, True] and not copies.has_process(RUN)  # after that of its end was
    copies.close()

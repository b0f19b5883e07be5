"""What front ends on other machines copy of run folders, and what keeps the list in order."""

import asyncio
import gzip
import json

import pytest

from mg_tui.api.job_changes import JobChanges, change_record
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunStore, summarize_run

JOBS = "/api/v1/training/jobs"
FILES = "/api/v1/training/files"


def _event(frame: bytes) -> tuple[str, dict]:
    lines = dict(line.split(": ", 1) for line in frame.decode().splitlines() if ": " in line)
    return lines.get("event", ""), json.loads(lines["data"]) if "data" in lines else {}


async def _next(events) -> tuple[str, dict]:
    while True:
        kind, data = _event(await asyncio.wait_for(anext(events), 60))
        if kind not in ("", "wait") and (kind != "jobs" or data["full"] or data["jobs"] or data["gone"]):
            return kind, data


@pytest.mark.asyncio
async def test_changes_begin_with_everything_and_go_on_with_what_changes(settings, make_run) -> None:
    ended, running = make_run("first"), make_run("second", end=None)
    store = RunStore(settings.home)
    changes = JobChanges(settings.home, store.refresh)
    with RunLock(running.lock_file):
        events = changes.follow()
        kind, garden = await _next(events)
        assert kind == "garden" and garden["protocol"] == 1 and garden["home"] == str(settings.home)
        _kind, first = await _next(events)
        jobs = {job["id"]: job for job in first["jobs"]}
        assert first["full"] and set(jobs) == {ended.id, running.id}
        assert (jobs[ended.id]["state"], jobs[ended.id]["held"]) == ("finished", False)
        assert (jobs[running.id]["state"], jobs[running.id]["held"]) == ("running", True)
        assert jobs[running.id]["journal"] == running.journal_file.stat().st_size
        with JournalWriter(running.journal_file) as journal:
            journal.write("step", step=4, loss=0.25)
        _kind, change = await _next(events)
        assert not change["full"] and [job["id"] for job in change["jobs"]] == [running.id]
        assert change["jobs"][0]["journal"] == running.journal_file.stat().st_size
    _kind, change = await _next(events)  # its process is gone
    assert [(job["state"], job["held"]) for job in change["jobs"]] == [("crashed", False)]
    from mg_tui.runs.annotations import set_note
    from mg_tui.runs.remove import remove_run

    before = jobs[ended.id]["files"]
    set_note(ended, "the good one")
    _kind, change = await _next(events)
    assert change["jobs"][0]["id"] == ended.id and change["jobs"][0]["files"] != before
    remove_run(ended)
    _kind, change = await _next(events)
    assert change["gone"] == [ended.id] and change["jobs"] == []
    await events.aclose()
    changes.close()


@pytest.mark.asyncio
async def test_a_follower_hears_something_every_second_and_a_second_one_begins_with_everything(
    settings, make_run
) -> None:
    folder = make_run("first")
    changes = JobChanges(settings.home, RunStore(settings.home).refresh)
    first, second = changes.follow(), changes.follow()
    for events in (first, second):
        assert (await _next(events))[0] == "garden"
        assert [job["id"] for job in (await _next(events))[1]["jobs"]] == [folder.id]
    _kind, beat = _event(await asyncio.wait_for(anext(first), 60))
    assert beat["jobs"] == [] and beat["gone"] == [] and not beat["full"]
    await first.aclose()
    await second.aclose()
    changes.close()


def test_a_process_that_began_since_the_state_was_read_counts(make_run) -> None:
    folder = make_run("first", end="stopped")
    run = summarize_run(folder)
    with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=2, host="box", attempt=2, resumed_from=3, versions={})
        record = change_record(run)
    assert record["state"] == "stopped" and record["held"] is True
    assert record["journal"] == folder.journal_file.stat().st_size
    assert change_record(run)["held"] is False


def _files(client, *jobs: str, **more) -> dict:
    answer = client.get(FILES, params={"job": list(jobs)}, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def test_journals_are_sent_byte_for_byte_from_any_byte_on(client, make_run) -> None:
    folder = make_run("first")
    with folder.journal_file.open("ab") as file:  # damaged, and cut inside of a character
        file.write(b"\xff\x00 not JSON \xf0\x9f\n")
    whole = folder.journal_file.read_bytes()
    (record,) = _files(client, f"{folder.id},0,-,-")["data"]
    assert _bytes(record["journal"]["text"]) == whole
    assert record["log"] is None and record["files"] is None
    for at in (1, 100, len(whole) - 3, len(whole), len(whole) + 10):
        (record,) = _files(client, f"{folder.id},{at},-,-")["data"]
        assert _bytes(record["journal"]["text"]) == whole[at:], at


def test_a_long_journal_comes_in_parts_and_compressed(client, make_run) -> None:
    folder = make_run("first", steps=12_000)
    whole, got, parts = folder.journal_file.read_bytes(), b"", 0
    assert len(whole) > 1 << 20
    while len(got) < len(whole):
        answer = client.get(FILES, params={"job": [f"{folder.id},{len(got)},-,-"]}, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        got += _bytes(answer.json()["data"][0]["journal"]["text"])
        parts += 1
    assert got == whole and parts > 1
    request = client.build_request("GET", FILES, params={"job": [f"{folder.id},0,-,-"]})
    request.headers["Accept-Encoding"] = "gzip"
    raw = client.send(request, stream=True)
    assert gzip.decompress(b"".join(raw.iter_raw())).startswith(b'{"object":"list"')


def test_the_small_files_are_sent_and_a_link_is_not_followed(client, make_run, tmp_path) -> None:
    folder = make_run("first")
    secret = tmp_path / "secret"
    secret.write_text("top-secret-words")
    (folder.path / "queue.json").symlink_to(secret)
    answer = client.get(FILES, params={"job": [f"{folder.id},0,-,all"]})
    files = answer.json()["data"][0]["files"]
    assert files["spec.json"] == folder.spec_file.read_text() and files["annotations.json"] is None
    assert files["queue.json"] is None and "top-secret-words" not in answer.text


def test_the_log_is_sent_from_its_end_in_lines_without_foreign_paths(client, make_run, work) -> None:
    folder = make_run("first")
    folder.log_file.write_text(f"\x1b[31mred\x1b[0m\nread {work}/data/rows.jsonl\nread /etc/ssl/private/key.pem\nhalf")
    (record,) = _files(client, f"{folder.id},0,end,-")["data"]
    assert record["log"]["text"] == f"red\nread {work}/data/rows.jsonl\nread (a path)\n"
    assert record["log"]["next"] == folder.log_file.stat().st_size - len("half")
    with folder.log_file.open("a") as file:
        file.write(" a line\n")
    (record,) = _files(client, f"{folder.id},0,{record['log']['next']},-")["data"]
    assert record["log"]["text"] == "half a line\n"
    folder.log_file.write_text("line of text\n" * 50_000)
    (record,) = _files(client, f"{folder.id},0,end,-")["data"]
    assert record["log"]["text"].startswith("line of text\n") and len(record["log"]["text"]) <= 256 << 10
    assert record["log"]["next"] == folder.log_file.stat().st_size


@pytest.mark.parametrize(
    "job",
    ["", "x", "x,0,-", "x,-1,-,-", "x,0,begin,-", "x,0,-,some", "../x,0,-,-", ".x,0,-,-", "x/../y,0,-,-", "x,0,-,-,-"],
)
def test_what_is_no_job_is_refused(client, job) -> None:
    assert client.get(FILES, params={"job": [job]}).status_code == 422


def test_unknown_jobs_are_left_out_and_too_many_are_refused(client, make_run) -> None:
    folder = make_run("first")
    answer = _files(client, "20200101-000000-gone,0,-,-", f"{folder.id},0,-,-")
    assert [record["id"] for record in answer["data"]] == [folder.id] and answer["has_more"] is False
    assert client.get(FILES, params={"job": ["x,0,-,-"] * 51}).status_code == 422
    assert client.get(FILES).status_code == 422


def test_names_notes_and_tags(client, make_run) -> None:
    folder = make_run("first")
    path = f"{JOBS}/{folder.id}/annotate"
    shown = client.post(path, json={"name": "better", "tags": ["best", "#good"]}).json()
    assert (shown["name"], shown["tags"], shown["note"]) == ("better", ["best", "good"], None)
    assert client.post(path, json={"note": "a note"}).json()["tags"] == ["best", "good"]
    shown = client.post(path, json={"name": "", "note": "", "tags": []}).json()
    assert (shown["name"], shown["tags"], shown["note"]) == ("first", [], None)
    for body in ({"tags": ["two words"]}, {"name": "x" * 200}, {"note": "x" * 3000}, {"color": "red"}):
        assert client.post(path, json=body).status_code == 422, body
    assert client.post(f"{JOBS}/20200101-000000-gone/annotate", json={}).status_code == 404


def test_the_trash_and_permanent_removal(client, make_run) -> None:
    folder, other = make_run("first"), make_run("second")
    assert client.delete(f"{JOBS}/{folder.id}").status_code == 204
    (removed,) = client.get("/api/v1/training/trash").json()["data"]
    assert removed["id"] == folder.id and removed["removed_at"] > 0
    restored = client.post(f"/api/v1/training/trash/{folder.id}/restore")
    assert restored.status_code == 200 and restored.json()["id"] == folder.id
    assert client.post(f"/api/v1/training/trash/{folder.id}/restore").status_code == 404
    assert client.delete(f"{JOBS}/{other.id}", params={"permanently": "true"}).status_code == 204
    assert client.get("/api/v1/training/trash").json()["data"] == [] and not other.path.exists()


def test_a_checkpoint_is_deleted_and_not_of_a_running_job(client, make_run) -> None:
    folder: RunFolder = make_run("first", end="stopped")
    step = folder.checkpoints_dir / "step-000003"
    step.mkdir()
    with RunLock(folder.lock_file):
        assert client.delete(f"{JOBS}/{folder.id}/checkpoints/3").status_code == 409
    assert client.delete(f"{JOBS}/{folder.id}/checkpoints/3").status_code == 204
    assert not step.exists() and summarize_run(folder).state is RunState.STOPPED
    assert client.delete(f"{JOBS}/{folder.id}/checkpoints/3").status_code == 409
    assert client.delete(f"{JOBS}/{folder.id}/checkpoints/x").status_code == 422


def test_a_sample_of_the_devices(client) -> None:
    sample = client.get("/api/v1/devices/sample").json()
    assert sample["object"] == "device.sample" and sample["host"]["cores"] >= 1
    assert bool(sample["gpus"]) == (sample["why_no_gpu"] is None)
    from mg_tui.remote.devices import snapshot_of

    snapshot = snapshot_of(sample)
    assert snapshot is not None and snapshot.host.cores == sample["host"]["cores"]


@pytest.mark.asyncio
async def test_a_first_look_that_takes_long_is_not_silence(settings, make_run, monkeypatch) -> None:
    import threading

    from mg_tui.api import job_changes

    monkeypatch.setattr(job_changes, "BEAT_SECONDS", 0.05)
    may_read, store = threading.Event(), RunStore(settings.home)
    folder = make_run("first")

    def list_runs():
        assert may_read.wait(60)
        return store.refresh()

    changes = JobChanges(settings.home, list_runs)
    events = changes.follow()
    assert (await _next(events))[0] == "garden"
    kinds = [_event(await asyncio.wait_for(anext(events), 60))[0] for _ in range(3)]
    assert kinds == ["wait", "wait", "wait"]
    may_read.set()
    assert [job["id"] for job in (await _next(events))[1]["jobs"]] == [folder.id]
    await events.aclose()
    changes.close()

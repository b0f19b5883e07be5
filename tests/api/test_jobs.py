"""Jobs over the API: lists, pages, what a job has, and what is refused."""

import asyncio
import json
import time

import pytest

from mg_tui.runs import operations
from mg_tui.runs.annotations import set_note, set_tags
from mg_tui.runs.caller_bounds import CallerBounds, read_caller_bounds
from mg_tui.runs.devices import DeviceLocks
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader, JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.store import RunSummarizer, summarize_run
from mg_tui.runs.trash import empty_trash, list_trash
from tests.api.conftest import stop_everything, wait_for

JOBS = "/api/v1/training/jobs"


@pytest.fixture
def queued(client, settings):
    """Create a job that waits: something else uses the CPU."""
    locks = DeviceLocks(settings.home)
    assert locks.take(["cpu"])

    def create(key=None, **values):
        body = {"base_model": "tiny", "dataset": "data/rows.jsonl", "device": "cpu", **values}
        headers = {} if key is None else {"Idempotency-Key": key}
        return client.post(JOBS, json=body, headers=headers)

    yield create
    stop_everything(settings.home)
    locks.release()


def test_jobs_are_listed_by_pages_newest_first(client, make_run) -> None:
    ids = [make_run(f"run-{n}").id for n in range(5)][::-1]
    first = client.get(JOBS, params={"limit": 2}).json()
    assert [job["id"] for job in first["data"]] == ids[:2]
    assert first["has_more"] is True
    second = client.get(JOBS, params={"limit": 2, "after": ids[1]}).json()
    third = client.get(JOBS, params={"limit": 2, "after": ids[3]}).json()
    assert [job["id"] for job in (*second["data"], *third["data"])] == ids[2:]
    assert third["has_more"] is False
    job = first["data"][0]
    assert (job["object"], job["state"], job["step"], job["loss"]) == ("training.job", "finished", 3, 1 / 3)


def test_lists_take_a_state_and_words(client, make_run) -> None:
    stopped, receipts = make_run(end="stopped"), make_run("receipts")
    set_tags(receipts, ("paper",))
    assert [job["id"] for job in client.get(JOBS, params={"state": "stopped"}).json()["data"]] == [stopped.id]
    assert [job["id"] for job in client.get(JOBS, params={"filter": "#paper"}).json()["data"]] == [receipts.id]
    assert client.get(JOBS, params={"state": "asleep"}).status_code == 422
    assert client.get(JOBS, params={"limit": 0}).status_code == 422


def test_a_run_of_another_front_end_is_seen_at_once(client, make_run) -> None:
    assert client.get(JOBS).json()["data"] == []
    folder = make_run(end=None)
    assert client.get(JOBS).json()["data"][0]["state"] == "crashed"
    with JournalWriter(folder.journal_file) as journal:
        journal.write("stopped", step=3, by="me")
    assert client.get(JOBS).json()["data"][0]["state"] == "stopped"


def test_a_page_of_jobs_reads_only_its_own_runs(client, make_run, monkeypatch) -> None:
    runs = [make_run().id for _ in range(6)]
    read: list[str] = []
    refresh = RunSummarizer.refresh

    def note(self):
        read.append(self._watch.folder.id)
        return refresh(self)

    monkeypatch.setattr(RunSummarizer, "refresh", note)
    page = client.get(JOBS, params={"limit": 2, "after": runs[4]}).json()
    assert [job["id"] for job in page["data"]] == [runs[3], runs[2]] == read and page["has_more"]
    assert len(client.get(JOBS, params={"state": "finished", "limit": 2}).json()["data"]) == 2
    assert set(read) == set(runs)


def test_a_job_has_everything_and_an_etag(client, make_run) -> None:
    folder = make_run("one")
    answer = client.get(f"{JOBS}/{folder.id}")
    job = answer.json()
    assert job["spec"]["base_model"] == "tiny" and job["plan"]["steps"] == 3
    assert job["links"]["self"] == f"{JOBS}/{folder.id}"
    etag = answer.headers["etag"]
    assert client.get(f"{JOBS}/{folder.id}", headers={"If-None-Match": etag}).status_code == 304
    set_note(folder, "good")
    again = client.get(f"{JOBS}/{folder.id}", headers={"If-None-Match": etag})
    assert again.status_code == 200 and again.json()["note"] == "good"


@pytest.mark.parametrize("name", ["last", "20261130", "nothing", "..", "%2e%2e", "a" * 300])
def test_a_job_is_found_by_its_whole_id_only(client, make_run, name) -> None:
    make_run()
    answer = client.get(f"{JOBS}/{name}")
    assert answer.status_code in (400, 404, 405)
    assert client.post(f"{JOBS}/{name}/stop").status_code in (400, 404, 405)


def test_what_a_job_has(client, make_run) -> None:
    folder = make_run()
    folder.log_file.write_text("first\n\x1b[31mred\x1b[0m /etc/secret/file\n")
    with JournalWriter(folder.journal_file) as journal:
        journal.write("sample", step=3, row=1, image=None, prompt="?", answer="yes", expected="yes")
        journal.write(
            "checkpoint", step=3, path="checkpoints/step-000003", bytes=5, seconds=0.1, eval_loss=0.5, best=True
        )
    metrics = client.get(f"{JOBS}/{folder.id}/metrics").json()
    assert metrics["step"] == [1, 2, 3] and metrics["loss"] == [1.0, 0.5, 1 / 3]
    assert metrics["grad_norm"] == ["nan"] * 3 and metrics["tokens_per_second"] == [20.0] * 3
    assert client.get(f"{JOBS}/{folder.id}/logs").json()["data"] == ["first", "red (a path)"]
    assert client.get(f"{JOBS}/{folder.id}/logs", params={"lines": 1}).json()["data"] == ["red (a path)"]
    assert client.get(f"{JOBS}/{folder.id}/samples").json()["data"][0]["answer"] == "yes"
    assert client.get(f"{JOBS}/{folder.id}/checkpoints").json()["data"][0]["best"] is True


def test_events_are_resumed_by_number(client, make_run) -> None:
    folder = make_run()
    whole = client.get(f"{JOBS}/{folder.id}/events")
    assert whole.headers["content-type"].startswith("text/event-stream")
    numbers = [int(line[4:]) for line in whole.text.splitlines() if line.startswith("id: ")]
    assert numbers == [1, 2, 3, 4, 5, 6, 7]
    assert "event: step\n" in whole.text and whole.text.endswith("event: end\ndata: {}\n\n")
    data = [json.loads(line[6:]) for line in whole.text.splitlines() if line.startswith("data: ")]
    assert data[3]["loss"] == 1.0
    for parts in ({"params": {"after": 5}}, {"headers": {"Last-Event-ID": "5"}}):
        rest = client.get(f"{JOBS}/{folder.id}/events", **parts).text
        assert [line for line in rest.splitlines() if line.startswith("id: ")] == ["id: 6", "id: 7"]
    assert client.get(f"{JOBS}/{folder.id}/events", params={"after": 7}).status_code == 204
    assert client.get(f"{JOBS}/{folder.id}/events", headers={"Last-Event-ID": "x"}).status_code == 422


def test_a_follower_far_behind_reads_the_file(client, make_run, monkeypatch) -> None:
    folder = make_run(steps=50)
    from collections import deque

    from mg_tui.api import job_events

    monkeypatch.setattr(job_events, "deque", lambda maxlen: deque(maxlen=5))
    text = client.get(f"{JOBS}/{folder.id}/events", params={"after": 10}).text
    assert [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")] == list(range(11, 55))


def test_a_job_is_created_queued_held_moved_and_stopped(client, queued, settings) -> None:
    first = queued(name="first")
    assert first.status_code == 201
    job = first.json()
    assert first.headers["location"] == f"{JOBS}/{job['id']}"
    assert job["state"] == "queued" and job["queue"]["position"] == 1
    second = queued(name="second").json()
    assert second["queue"]["position"] == 2
    path = f"{JOBS}/{second['id']}"
    assert client.post(f"{path}/move", json={"position": "first"}).json()["queue"]["position"] == 1
    assert client.post(f"{path}/move", json={"position": 2}).json()["queue"]["position"] == 2
    assert client.post(f"{path}/move", json={"position": 0}).status_code == 422
    assert client.post(f"{path}/hold").json()["queue"]["held"] is True
    assert client.post(f"{path}/release").json()["queue"]["held"] is False
    assert client.delete(path).status_code == 409
    stopped = client.post(f"{path}/stop")
    assert stopped.status_code == 202 and stopped.json()["seen"] is True
    assert client.get(path).json()["state"] == "stopped"
    assert client.post(f"{path}/hold").status_code == 409
    assert client.post(f"{path}/stop").status_code == 409
    assert client.delete(path).status_code == 204
    assert [run.id for run in list_trash(settings.home)] == [second["id"]]
    by = [
        json.loads(line)
        for line in (RunFolder(settings.home / "runs" / job["id"]).journal_file).read_text().splitlines()
    ]
    assert "(api)" in by[1]["by"]


def test_a_job_of_a_caller_keeps_its_bounds(queued, settings, work) -> None:
    folder = RunFolder(settings.home / "runs" / queued().json()["id"])
    bounds = read_caller_bounds(folder.path)
    assert isinstance(bounds, CallerBounds) and not bounds.own_tokens
    assert str(work.resolve()) in bounds.roots


def test_the_same_key_creates_one_job(client, queued, settings) -> None:
    first, second = queued("key-1", name="a"), queued("key-1", name="a")
    assert first.json()["id"] == second.json()["id"]
    assert (first.status_code, second.status_code) == (201, 201)
    other = queued("key-1", name="b")
    assert (other.status_code, other.json()["type"]) == (422, "urn:model-garden:problem:idempotency-key-reused")
    assert queued("key-2", name="a").json()["id"] != first.json()["id"]
    assert len(client.get(JOBS).json()["data"]) == 2
    for bad in ("", "x" * 256, "a b", "\t"):
        assert queued(bad, name="a").status_code in (400, 422), bad
    files = list((settings.home / "idempotency").iterdir())
    assert len(files) == 2 and not any("key" in file.name for file in files)


def test_a_key_whose_server_died_continues_its_job(client, queued, settings, monkeypatch) -> None:
    """Killed after the folder was made and before it was started: the retry starts that one."""

    def die(*_args, **_more):
        raise MemoryError

    monkeypatch.setattr(operations, "start_or_queue", die)
    assert queued("key", name="a").status_code == 500
    (made,) = (settings.home / "runs").iterdir()
    monkeypatch.undo()
    monkeypatch.chdir(made.parents[2] / "work")
    job = queued("key", name="a").json()
    assert job["id"] == made.name and job["state"] == "queued"


def test_a_key_whose_job_was_deleted_creates_nothing(client, queued, settings) -> None:
    """In the trash, restored from it, and after the trash was emptied."""
    job = queued("key", name="a").json()["id"]
    assert client.post(f"{JOBS}/{job}/stop").status_code == 202
    assert client.delete(f"{JOBS}/{job}").status_code == 204
    gone = queued("key", name="a")
    assert (gone.status_code, gone.json()["type"]) == (410, "urn:model-garden:problem:job-deleted")
    assert job in gone.json()["detail"] and "trash" in gone.json()["hint"]
    assert client.post(f"/api/v1/training/trash/{job}/restore").status_code == 200
    again = queued("key", name="a")
    assert (again.status_code, again.json()["id"]) == (201, job)
    assert client.delete(f"{JOBS}/{job}").status_code == 204
    assert [run.id for run in empty_trash(settings.home)] == [job]
    for _ in range(2):
        gone = queued("key", name="a")
        assert (gone.status_code, gone.json()["type"]) == (410, "urn:model-garden:problem:job-deleted")
        assert "trash" not in gone.json()["hint"]
    assert queued("key", name="b").status_code == 422
    assert client.get(JOBS).json()["data"] == []
    assert queued("other", name="a").json()["id"] != job


def test_a_key_of_a_refused_request_is_free(queued) -> None:
    refused = queued("key", dataset="data/other.jsonl")
    assert refused.status_code == 422 and "does not exist" in refused.text
    job = queued("key")
    assert job.status_code == 201, job.text
    assert queued("key").json()["id"] == job.json()["id"]


def test_the_guides_names_and_ours_are_the_same(client, queued) -> None:
    job = queued(
        dataset_path="data/rows.jsonl",
        dataset=None,
        model_type="vision-language",
        hyperparameters={"num_epochs": 2, "learning_rate": 0.001, "batch_size": 2},
    )
    assert job.status_code == 422  # the dataset is given twice
    body = {
        "base_model": "tiny",
        "dataset_path": "data/rows.jsonl",
        "model_type": "vision-language",
        "device": "cpu",
        "hyperparameters": {"num_epochs": 2, "learning_rate": 0.001},
    }
    spec = client.post(JOBS, json=body).json()["spec"]
    assert (spec["epochs"], spec["learning_rate"]) == (2.0, 0.001)


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"hyperparameters": {"batch_size": 0}}, "/hyperparameters/batch_size"),
        ({"hyperparameters": {"num_epochs": -1}}, "/hyperparameters/num_epochs"),
        ({"dataset_path": 5}, "/dataset_path"),
        ({"lr": 1}, "/lr"),
        ({"model_type": "text"}, "/model_type"),
        ({"hyperparameters": 3}, "/hyperparameters"),
        ({"gpus": 3}, "/gpus"),
        ({"queue": "yes"}, "/queue"),
    ],
)
def test_a_bad_value_is_named_where_the_caller_wrote_it(client, settings, values, pointer) -> None:
    body = {"base_model": "tiny", "dataset_path": "data/rows.jsonl", **values}
    answer = client.post(JOBS, json=body)
    assert answer.status_code == 422
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    if pointer != "/model_type":
        assert pointer in [error["pointer"] for error in problem["errors"]]
    assert not (settings.home / "runs").exists()


def test_a_rerun_is_a_new_job_with_changes(client, make_run, queued) -> None:
    folder = make_run(device="cpu")
    answer = client.post(f"{JOBS}/{folder.id}/rerun", json={"learning_rate": 0.5, "name": "again"})
    assert answer.status_code == 201
    job = answer.json()
    assert job["id"] != folder.id and job["spec"]["learning_rate"] == 0.5 and job["spec"]["device"] == "cpu"
    bad = client.post(f"{JOBS}/{folder.id}/rerun", json={"learning_rate": -1})
    assert bad.status_code == 422 and bad.json()["errors"][0]["pointer"] == "/learning_rate"


def test_only_a_stopped_job_resumes(client, make_run) -> None:
    finished, stopped = make_run(), make_run(end="stopped")
    assert client.post(f"{JOBS}/{finished.id}/resume").status_code == 409
    none = client.post(f"{JOBS}/{stopped.id}/resume")
    assert none.status_code == 409 and "no valid checkpoint" in none.json()["detail"]
    assert client.post(f"{JOBS}/{stopped.id}/checkpoint").status_code == 409
    assert client.post(f"{JOBS}/{stopped.id}/resume", json={"from": 1}).status_code == 422


def test_a_job_restarts_from_the_beginning_in_the_queue(client, make_run, queued) -> None:
    stopped = make_run(end="stopped", device="cpu")
    answer = client.post(f"{JOBS}/{stopped.id}/resume", json={"from_start": True})
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "queued"
    assert wait_for(lambda: summarize_run(stopped).state.value == "queued")


def test_a_job_that_cost_what_it_may_resumes_with_another_limit(client, make_run, queued, monkeypatch) -> None:
    stopped = make_run(end=None, device="cpu", max_cost=1.0)
    time.sleep(0.02)
    with JournalWriter(stopped.journal_file) as journal:
        journal.write("stopped", step=3, by="me")
    resume = f"{JOBS}/{stopped.id}/resume"
    without = client.post(resume, json={"from_start": True, "max_cost": 5})
    assert without.status_code == 409 and "without a price" in without.json()["detail"]
    monkeypatch.setenv("MODEL_GARDEN_COST_PER_HOUR", "1000000")
    spent = client.post(resume, json={"from_start": True})
    assert spent.status_code == 409 and "and may cost" in spent.json()["detail"]
    for bad in (0, -1, "5", "inf", True):
        refused = client.post(resume, json={"from_start": True, "max_cost": bad})
        assert refused.status_code == 422 and refused.json()["errors"][0]["pointer"] == "/max_cost", bad
    infinite = b'{"from_start": true, "max_cost": 1e999}'
    assert client.post(resume, content=infinite, headers={"Content-Type": "application/json"}).status_code == 422
    assert stopped.read_spec().max_cost == 1.0
    resumed = client.post(resume, json={"from_start": True, "max_cost": 1e9})
    assert resumed.status_code == 202 and resumed.json()["state"] == "queued", resumed.text
    assert resumed.json()["spec"]["max_cost"] == stopped.read_spec().max_cost == 1e9
    [accepted] = [event for event in JournalReader(stopped.journal_file).read_new() if event.kind == "spec_accepted"]
    assert "api" in str(accepted.data["by"])


def test_a_list_has_what_changed_since_the_last(client, make_run) -> None:
    ended, running = make_run("ended"), make_run("running", end=None)
    first = client.get(JOBS).json()["data"]
    assert client.get(JOBS).json()["data"][1] == first[1]
    set_note(ended, "looked at")
    with RunLock(running.lock_file), JournalWriter(running.journal_file) as journal:
        journal.write("step", step=4, loss=0.125, learning_rate=1e-4, seconds=0.5, tokens=10, images=1)
        second = client.get(JOBS).json()["data"]
    assert [job["note"] for job in second] == [None, "looked at"]
    assert (second[0]["step"], second[0]["loss"], second[0]["state"]) == (4, 0.125, "running")
    with JournalWriter(ended.journal_file) as journal:
        journal.write("queued", gpus="any", by="me")
    assert client.get(JOBS).json()["data"][1]["state"] == "queued"
    alone = client.get(f"{JOBS}/{ended.id}").json()
    assert {name: alone[name] for name in second[1] if name != "links"}["note"] == "looked at"


def test_followers_get_events_together_and_hear_that_the_line_is_alive(make_run, monkeypatch) -> None:
    from mg_tui.api import job_events

    monkeypatch.setattr(job_events, "_PING_SECONDS", 0.05)
    folder = make_run(end=None, steps=2)

    async def follow() -> None:
        feeds = job_events.EventFeeds()
        early, late = feeds.follow(folder, 0), feeds.follow(folder, 3)
        assert b"retry" in await anext(early) and b"retry" in await anext(late)
        assert (await anext(early)).count(b"event: ") == 5  # created, started, plan, two steps: at once
        assert (await anext(late)).count(b"event: step") == 2
        assert (await anext(late)).startswith(b":")  # nothing came: a comment
        with JournalWriter(folder.journal_file) as journal:
            for step in (3, 4):
                journal.write("step", step=step, loss=1.0, learning_rate=1e-4, seconds=0.5, tokens=10, images=1)
            while (news := await anext(late)).startswith(b":"):
                pass
            assert news.count(b"event: step") == 2
            journal.write("finished", steps=4)
        rest = b"".join([frame async for frame in late])
        assert b"event: finished" in rest and rest.endswith(job_events.END_FRAME)
        await early.aclose()
        feeds.close()

    with RunLock(folder.lock_file):
        asyncio.run(asyncio.wait_for(follow(), 60))

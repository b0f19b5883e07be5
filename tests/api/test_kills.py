"""A server that is killed while it creates jobs, and callers that send their requests again until they are answered."""

import contextlib
import itertools
import random
import threading
import time

import httpx
import pytest

from mg_tui.data.synthetic.vision_dataset import create_vision_dataset
from mg_tui.runs.devices import DeviceLocks
from mg_tui.runs.store import list_runs
from tests.api.conftest import free_port, start_server, stop_everything

JOBS = "/api/v1/training/jobs"
CALLERS = 3


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.timeout(1800)
def test_every_job_exists_once_however_often_the_server_is_killed(tmp_path, kills) -> None:
    home, work, port = tmp_path / "home", tmp_path / "work", free_port()
    create_vision_dataset(work / "data" / "rows.jsonl", 2, force=True)
    locks = DeviceLocks(home)
    assert locks.take(["cpu"])  # so that jobs wait, and nothing is trained
    answered: dict[str, str] = {}
    numbers, done, address = itertools.count(), threading.Event(), f"http://127.0.0.1:{port}"

    def create(key: str) -> httpx.Response:
        body = {"base_model": "tiny", "dataset": "data/rows.jsonl", "device": "cpu", "name": key}
        return httpx.post(f"{address}{JOBS}", json=body, headers={"Idempotency-Key": key}, timeout=60)

    def call() -> None:
        while not done.is_set():
            key = f"key-{next(numbers)}"
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = create(key)
                    if answer.status_code == 201:
                        answered[key] = answer.json()["id"]
                        break
                    assert answer.status_code in (409, 503), answer.text  # under way; the queue is locked
                time.sleep(0.1)

    rng = random.Random(kills)
    server = start_server(home, work, port=port)
    callers = [threading.Thread(target=call, daemon=True) for _ in range(CALLERS)]
    try:
        for caller in callers:
            caller.start()
        for _ in range(kills):
            time.sleep(rng.uniform(0.2, 1.5))
            server.kill()
            server = start_server(home, work, port=port)
        done.set()
        for caller in callers:
            caller.join(120)
            assert not caller.is_alive()
        names = [run.name or "" for run in list_runs(home)]
        assert sorted(names) == sorted(answered) and len(names) >= CALLERS
        assert {run.name: run.id for run in list_runs(home)} == answered
        assert {run.state.value for run in list_runs(home)} == {"queued"}
        for key in sorted(answered)[:3]:
            job = f"{address}{JOBS}/{answered[key]}"
            assert httpx.post(f"{job}/stop", timeout=60).status_code == 202
            assert httpx.delete(job, params={"permanently": True}, timeout=60).status_code == 204
            assert create(key).status_code == 410
        assert sorted(run.name or "" for run in list_runs(home)) == sorted(answered)[3:]
    finally:
        done.set()
        server.kill()
        stop_everything(home)
        locks.release()

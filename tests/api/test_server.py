"""The API as a process of its own: the guide's snippet, a run that is followed to its end, programs side by side."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from mg_tui.data.synthetic.vision_dataset import create_vision_dataset
from mg_tui.families.registry import load_registry
from tests.api.conftest import Server, free_port, start_server, stop_everything, wait_for

JOBS = "/api/v1/training/jobs"
GUIDE_MODEL = "Qwen/Qwen2.5-VL-3B-Instruct"
# The guide's own words, docs/guide.md.
SNIPPET = """import requests

response = requests.post('http://localhost:8000/api/v1/training/jobs', json={
    "name": "vision-model-1",
    "base_model": "Qwen/Qwen2.5-VL-3B-Instruct",
    "dataset_path": "./data/vision_dataset.jsonl",
    "output_dir": "./models/vision-model-1",
    "model_type": "vision-language",  # New field
    "hyperparameters": {
        "learning_rate": 2e-5,
        "num_epochs": 3,
        "batch_size": 1,
        "gradient_accumulation_steps": 8
    }
})
"""


def hub_with_tiny(folder: Path) -> Path:
    """A cache of the hub in which the guide's model is the tiny checkpoint."""
    repository = folder / f"models--{GUIDE_MODEL.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / ("0" * 40)).symlink_to(load_registry().resolve("tiny").source)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("user")
    work = base / "work"
    create_vision_dataset(work / "data" / "vision_dataset.jsonl", 6, force=True)
    port = free_port()
    environ = {"HF_HUB_CACHE": str(hub_with_tiny(base / "hub")), "HF_TOKEN": "hf_of_the_owner", "OMP_NUM_THREADS": "1"}
    server = start_server(base / "home", work, port=port, environ=environ)
    yield server
    server.end()
    stop_everything(server.home)


@pytest.fixture(scope="module")
def guides_job(server: Server) -> str:
    """The job that the guide's snippet makes, at its end."""
    snippet = SNIPPET.replace("http://localhost:8000", server.url.replace("127.0.0.1", "localhost"))
    script = snippet + "print(response.status_code, response.headers['Location'], response.json()['state'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    status, location, state = done.stdout.split()
    assert (status, state) == ("201", "queued"), done.stderr
    with server.client as client:
        text = client.get(f"{location}/events", timeout=240).text  # ends with the run
    assert "event: finished\n" in text, text[-2000:]
    return location


def test_the_guides_snippet_trains_a_model(server: Server, guides_job: str) -> None:
    with server.client as client:
        job = client.get(guides_job).json()
    assert (job["state"], job["name"], job["base_model"]) == ("finished", "vision-model-1", GUIDE_MODEL)
    spec = job["spec"]
    assert (spec["epochs"], spec["learning_rate"], spec["gradient_accumulation_steps"]) == (3.0, 2e-5, 8)
    assert (server.work / "models/vision-model-1/adapter_config.json").is_file()
    with server.client as client:
        assert len(client.get(f"{guides_job}/metrics").json()["loss"]) == job["step"] == 3
        assert client.get(f"{guides_job}/checkpoints").json()["data"]


def test_the_server_gives_way_to_runs(server: Server) -> None:
    with server.client as client:
        client.get(JOBS).raise_for_status()
    threads = [int(path.name) for path in Path(f"/proc/{server.process.pid}/task").iterdir()]
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH} and len(threads) > 1


def test_the_documentation_has_the_guides_snippet() -> None:
    blocks = (Path(__file__).parents[2] / "docs" / "api.md").read_text().split("```python\n")[1:]
    programs = [ast.dump(ast.parse(block.split("```")[0])) for block in blocks]
    assert ast.dump(ast.parse(SNIPPET)) in programs  # the formatter has its own quotes


def test_the_owners_token_is_not_in_the_job(server: Server, guides_job: str) -> None:
    for file in server.home.rglob("*"):
        if file.is_file():
            assert b"hf_of_the_owner" not in file.read_bytes(), file


def test_the_command_line_sees_the_job_and_the_api_a_run_of_the_command_line(server: Server, guides_job: str) -> None:
    program = ["model-garden", "--home", str(server.home)]
    listed = subprocess.run([*program, "runs", "list", "--json"], capture_output=True, text=True, check=True)
    assert guides_job.endswith(json.loads(listed.stdout)[0]["id"])
    options = "--base-model tiny --dataset data/vision_dataset.jsonl --max-steps 1 --device cpu --sample-count 0"
    stopped = subprocess.run(
        [*program, "train-vision", *options.split(), "--detach"],
        cwd=server.work,
        capture_output=True,
        text=True,
        check=True,
    )
    run = stopped.stdout.strip()
    with server.client as client:
        assert client.get(JOBS).json()["data"][0]["id"] == run
        wait_for(lambda: client.get(f"{JOBS}/{run}").json()["state"] == "finished")


def test_an_address_for_others_needs_more_words(server: Server) -> None:
    refused = subprocess.run(
        ["model-garden", "--home", str(server.home), "api", "--host", "0.0.0.0", "--port", "0"],
        cwd=server.work,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 2 and "without TLS" in refused.stderr and "SSH tunnel" in refused.stderr
    taken = subprocess.run(
        ["model-garden", "--home", str(server.home), "api", "--port", server.url.rpartition(":")[2]],
        cwd=server.work,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert taken.returncode == 3 and "Address already in use" in taken.stderr and "Traceback" not in taken.stderr


def test_behind_a_proxy_the_first_token_is_in_a_private_file(tmp_path) -> None:
    (tmp_path / "work").mkdir()
    server = start_server(tmp_path / "home", tmp_path / "work", "--behind-proxy", "--allow-host", "garden.example")
    try:
        token = (tmp_path / "home" / "first-token").read_text().strip()
        assert (tmp_path / "home" / "first-token").stat().st_mode & 0o777 == 0o600
        assert httpx.get(f"{server.url}{JOBS}").status_code == 401
        headers = {"Authorization": f"Bearer {token}", "Host": "garden.example"}
        assert httpx.get(f"{server.url}{JOBS}", headers=headers).json()["data"] == []
    finally:
        said = server.end()
    assert "mg_" not in said

"""OpenAI's own client trains the tiny model here, to the end, and pages through what it left."""

import json
from pathlib import Path

import openai
import pytest

from mg_tui.runs.devices import DeviceLocks
from tests.api.conftest import Server, stop_everything, wait_for

ROWS = 4


def openai_rows(folder: Path) -> Path:
    """A file as OpenAI's vision fine-tuning takes it: chat messages with images as data."""
    import base64
    import io

    from PIL import Image

    lines = []
    for n in range(ROWS):
        picture = io.BytesIO()
        Image.new("RGB", (56, 56), (40 * n, 90, 120)).save(picture, "PNG")
        data = base64.b64encode(picture.getvalue()).decode()
        content = [
            {"type": "text", "text": "What color is it?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        ]
        messages = [{"role": "user", "content": content}, {"role": "assistant", "content": f"color {n}"}]
        lines.append(json.dumps({"messages": messages}))
    file = folder / "train.jsonl"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def client(server: Server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def training_file(client, server) -> str:
    with openai_rows(server.work).open("rb") as file:
        return client.files.create(file=file, purpose="fine-tune").id


def test_files(client, training_file, server) -> None:
    assert client.files.retrieve(training_file).filename == "train.jsonl"
    assert training_file in [file.id for file in client.files.list()]
    assert client.files.content(training_file).read() == (server.work / "train.jsonl").read_bytes()
    other = client.files.create(file=("b.jsonl", b"{}\n"), purpose="fine-tune").id
    assert client.files.delete(other).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(other)
    for bad in (("x.exe", b"MZ"), ("x.jsonl", b"")):
        with pytest.raises(openai.BadRequestError):
            client.files.create(file=bad, purpose="fine-tune")


def test_a_job_from_its_creation_to_its_end(client, training_file, server) -> None:
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=training_file,
        suffix="colors",
        seed=7,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 2, "learning_rate_multiplier": 50}},
        },
        extra_body={"device": "cpu", "sample_count": 0, "lora_r": 4},
    )
    assert job.id.startswith("ftjob-") and job.status in ("queued", "running")
    assert (job.model, job.training_file, job.seed) == ("tiny", training_file, 7)
    with pytest.raises(openai.ConflictError):
        client.files.delete(training_file)
    done = wait_for(
        lambda: (found := client.fine_tuning.jobs.retrieve(job.id)).status not in ("queued", "running") and found, 270
    )
    assert done.status == "succeeded", done.error
    assert (Path(done.fine_tuned_model) / "adapter_config.json").is_file()
    assert json.loads((Path(done.fine_tuned_model) / "adapter_config.json").read_text())["r"] == 4
    spec = json.loads((Path(done.fine_tuned_model).parent / "spec.json").read_text())
    assert spec["learning_rate"] == pytest.approx(1e-3) and spec["gradient_accumulation_steps"] == 2
    messages = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=5)]
    assert messages[0] == "Job finished" and messages[-1] == "Job created"  # through all pages
    assert sum(message.startswith("Step ") for message in messages) == 2
    (saved,) = client.fine_tuning.jobs.checkpoints.list(job.id)
    assert saved.step_number == 2 and saved.fine_tuning_job_id == job.id
    assert job.id in [found.id for found in client.fine_tuning.jobs.list(limit=1)]


def test_a_job_is_paused_resumed_and_cancelled(client, training_file, server) -> None:
    locks = DeviceLocks(server.home)
    assert wait_for(lambda: locks.take(["cpu"]))
    try:
        options = {"model": "tiny", "training_file": training_file, "extra_body": {"device": "cpu"}}
        job = client.fine_tuning.jobs.create(**options)
        assert job.status == "queued"
        assert client.fine_tuning.jobs.pause(job.id).status == "paused"
        assert client.fine_tuning.jobs.resume(job.id).status == "queued"
        assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
        with pytest.raises(openai.ConflictError):
            client.fine_tuning.jobs.cancel(job.id)
        first = client.fine_tuning.jobs.create(**options, extra_headers={"Idempotency-Key": "k"})
        again = client.fine_tuning.jobs.create(**options, extra_headers={"Idempotency-Key": "k"})
        assert first.id == again.id
        client.fine_tuning.jobs.cancel(first.id)
    finally:
        stop_everything(server.home)
        locks.release()


def test_errors_are_openais(client, training_file) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.fine_tuning.jobs.retrieve("ftjob-nothing")
    assert missing.value.code == "job-not-found"
    with pytest.raises(openai.UnprocessableEntityError, match="at least 1"):
        client.fine_tuning.jobs.create(
            model="tiny", training_file=training_file, hyperparameters={"batch_size": 0, "n_epochs": "auto"}
        )
    with pytest.raises(openai.BadRequestError, match="supervised"):
        client.fine_tuning.jobs.create(model="tiny", training_file=training_file, method={"type": "dpo"})
    with pytest.raises(openai.NotFoundError, match="file"):
        client.fine_tuning.jobs.create(model="tiny", training_file="file-000000000000000000000000")
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="mg_wrong").fine_tuning.jobs.list()

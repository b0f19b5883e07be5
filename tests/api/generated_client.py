"""A program with the client that openapi-python-client makes from our document; run by test_document.py.

    python generated_client.py ADDRESS BODY

Every answer has a type: what it has is checked by mypy, and errors are told from what was asked for by `isinstance`.
"""

import json
import sys
from io import BytesIO

from httpx import Timeout
from model_garden_client import Client  # type: ignore[import-not-found, unused-ignore]
from model_garden_client.api.machine import device_sample, health  # type: ignore[import-not-found, unused-ignore]
from model_garden_client.api.openai import file_content, file_upload  # type: ignore[import-not-found, unused-ignore]
from model_garden_client.api.training import (  # type: ignore[import-not-found, unused-ignore]
    job_create,
    job_delete,
    job_events,
    job_list,
    job_metrics,
    job_show,
    job_stop,
    trash,
)
from model_garden_client.models import (  # type: ignore[import-not-found, unused-ignore]
    DeviceSample,
    FileUploadBody,
    Health,
    Job,
    JobCreateBody,
    JobList,
    JobMetrics,
    Problem,
    StopBody,
    TrainingOptions,
    Trash,
    UploadedFile,
)
from model_garden_client.types import File  # type: ignore[import-not-found, unused-ignore]


def make_and_follow(client: Client, body: JobCreateBody) -> str:
    """Create a job twice under one key, find it in the list, follow it to its end; returns its id."""
    made = job_create.sync(client=client, body=body, idempotency_key="typed")
    assert isinstance(made, Job) and made.object_ == "training.job", made
    again = job_create.sync(client=client, body=body, idempotency_key="typed")
    assert isinstance(again, Job) and again.id == made.id
    page = job_list.sync(client=client, limit=1)
    assert isinstance(page, JobList) and [job.id for job in page.data] == [made.id] and not page.has_more
    events = job_events.sync(made.id, client=client)
    assert isinstance(events, str) and "event: step" in events and "event: end" in events, events
    shown = job_show.sync(made.id, client=client)
    assert isinstance(shown, Job) and (shown.state, shown.step, shown.attempt) == ("finished", 2, 1), shown
    curves = job_metrics.sync(made.id, client=client)
    assert isinstance(curves, JobMetrics) and curves.step == [1, 2], curves
    return made.id


def be_refused(client: Client, job_id: str) -> None:
    """Errors are problem details with a type, and so are their places in the body."""
    wrong = job_create.sync(
        client=client, body=JobCreateBody(base_model="tiny", hyperparameters=TrainingOptions(batch_size=0))
    )
    assert isinstance(wrong, Problem) and wrong.status == 422 and wrong.type_.endswith(":invalid-options"), wrong
    assert isinstance(wrong.errors, list)
    faults = {str(fault.pointer): (fault.got, str(fault.accepted)) for fault in wrong.errors}
    assert faults["/hyperparameters/batch_size"][0] == 0, faults
    missing = job_show.sync_detailed("20200101-000000-aaaa", client=client)
    assert missing.status_code == 404 and isinstance(missing.parsed, Problem)
    ended = job_stop.sync(job_id, client=client, body=StopBody(now=True))
    assert isinstance(ended, Problem) and ended.status == 409, ended


def look_around(client: Client) -> None:
    """A file there and back, and the machine."""
    rows = b'{"text": "What is it?", "response": "A cat"}\n'
    file = File(payload=BytesIO(rows), file_name="rows.jsonl", mime_type="application/jsonl")
    sent = file_upload.sync(client=client, body=FileUploadBody(file=file, purpose="fine-tune"))
    assert isinstance(sent, UploadedFile) and sent.bytes_ == len(rows), sent
    back = file_content.sync(sent.id, client=client)
    assert isinstance(back, File) and back.payload.read() == rows
    well = health.sync(client=client)
    assert isinstance(well, Health) and well.status == "ok"
    assert isinstance(device_sample.sync(client=client), DeviceSample)


def main(address: str, body: str) -> None:
    client = Client(base_url=address, timeout=Timeout(240))
    job_id = make_and_follow(client, JobCreateBody.from_dict(json.loads(body)))
    be_refused(client, job_id)
    look_around(client)
    gone = job_delete.sync_detailed(job_id, client=client)
    assert gone.status_code == 204
    removed = trash.sync(client=client)
    assert isinstance(removed, Trash) and [item.id for item in removed.data] == [job_id], removed
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])

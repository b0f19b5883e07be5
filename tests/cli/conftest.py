"""Fixtures of the commands: the process of a job is stood in for."""

from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import GardenError
from mg_tui.core.model_job_spec import ModelJobSpec
from mg_tui.runs import launch
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.model_jobs import ModelJobFolder


class FakeWorker:
    """Stands in for the process of a job: writes what it would tell, and the reply, into the job's journal.

    Attributes:
        specs: what was asked, in order.
        reply: the result, or what ends the job.
    """

    def __init__(self) -> None:
        self.specs: list[ModelJobSpec] = []
        self.reply: dict[str, Any] | GardenError = {}

    def __call__(self, folder: ModelJobFolder, gpus: object = None) -> int:
        self.specs.append(folder.read_job_spec())
        with JournalWriter(folder.journal_file) as journal:
            journal.write("started", pid=1, host="here", attempt=1, resumed_from=None)
            if isinstance(self.reply, GardenError):
                journal.write("failed", **self.reply.as_dict(), exit_code=self.reply.exit_code)
                return 1
            journal.write("plan", steps=2)
            journal.write("phase", name="asking", detail=None)
            journal.write("notice", text="a note")
            journal.write("finished", reply=self.reply)
        return 1


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeWorker:
    fake = FakeWorker()
    monkeypatch.setattr(launch, "start_worker", fake)
    monkeypatch.setenv("MODEL_GARDEN_HOME", str(tmp_path / "home"))
    return fake

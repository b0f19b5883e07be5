"""Jobs in the dashboard: a form made from the command's options, the list with progress, stop, result and deletion."""

from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import RunFailed, UsageError
from mg_tui.core.model_job_spec import ExportSpec, MergeSpec, ModelJobSpec, PushSpec, VerifySpec
from mg_tui.runs import launch
from mg_tui.runs.control import ControlInbox
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.model_jobs import ModelJobFolder
from mg_tui.tui.jobs.draft import JobDraft, first_values, unused_folder
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.job_form import JobForm
from mg_tui.tui.screens.jobs import JobsScreen
from mg_tui.tui.screens.models import ModelsScreen
from mg_tui.tui.screens.plain_text import PlainTextScreen
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.models.model_table import ModelTable
from tests.tui.synthetic_places import make_result

AGREEMENT = {
    "rows": 4,
    "alike": 3,
    "agreement": 0.75,
    "required": 0.9,
    "similarity": 0.9,
    "model_exact_match": 0.5,
    "other_exact_match": 0.25,
    "adapter_changes": 2,
    "answered_as_base": 0,
    "differences": [{"row": 3, "model": "a\x1b[31m", "other": "b", "error": None}],
}
GGUF = {
    "output": "/out",
    "format": "gguf",
    "command": "sh run.sh",
    "agreement": AGREEMENT,
    "variants": [{**AGREEMENT, "quantization": "Q8_0", "file": "x.gguf", "bytes": 5_000_000, "fallback_tensors": 0}],
}


def make_job(home: Path, spec: ModelJobSpec) -> tuple[ModelJobFolder, RunLock, JournalWriter]:
    """A job that seems to run: its lock is held by the test."""
    folder = ModelJobFolder.create(home, spec, cwd=home)
    lock, journal = RunLock(folder.lock_file).acquire(), JournalWriter(folder.journal_file)
    journal.write("started", pid=1, host="here", attempt=1, resumed_from=None)
    journal.write("plan", steps=10)
    journal.write("phase", name="converting to 16 bit", detail=None)
    journal.write("step", step=4)
    return folder, lock, journal


async def _models(app: Any, pilot: Any, until: Any) -> None:
    await pilot.press("4")
    await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and app.screen.rows and app.screen.selected)
    table = app.screen.query_one(ModelTable)
    table.move(next(index for index, row in enumerate(table.rows) if row.kind == "adapter"))
    await pilot.pause()


@pytest.mark.asyncio
async def test_a_job_is_listed_with_its_progress_stopped_and_shown_with_its_result(
    tmp_path: Path, dashboard: Any, size: Any, text: Any, until: Any
) -> None:
    spec = ExportSpec(model="/models/receipts", output="/out", format="gguf")
    folder, lock, journal = make_job(tmp_path, spec)
    make_result(tmp_path, "receipts", eval_loss=0.4, exact_match=0.8)
    app = dashboard(tmp_path)
    try:
        async with app.run_test(size=size) as pilot:
            await _models(app, pilot, until)
            await pilot.press("J")
            await until(pilot, lambda: isinstance(app.screen, JobsScreen) and app.screen.items)
            for part in ("export gguf", "receipts", "40%", "converting to 16 bit", "1 running"):
                assert part in text(app), part
            await pilot.press("s")
            await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
            await pilot.press("y")
            await until(pilot, lambda: bool(list(folder.control_dir.iterdir())))
            [request] = ControlInbox(folder).take()
            assert request.request == "stop" and "dashboard" in request.by
            # It finished nevertheless.
            journal.write("finished", reply=GGUF)
            lock.release()
            await until(pilot, lambda: "finished" in text(app) and "Q8_0" in text(app))
            assert "3 of 4" in text(app) and "/out" in text(app)
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, PlainTextScreen))
            assert "sh run.sh" in app.screen.text and "row 3" in text(app) and "\x1b" not in text(app)
            await pilot.press("escape", "x")
            await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
            await pilot.press("y")
            await until(pilot, lambda: "No jobs yet" in text(app))
            assert not folder.path.exists()
    finally:
        lock.release()
        journal.close()


@pytest.mark.asyncio
async def test_a_job_is_started_from_a_form_and_outlives_the_dashboard(
    tmp_path: Path, dashboard: Any, size: Any, text: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_result(tmp_path, "receipts", eval_loss=0.4, exact_match=0.8)
    started: list[ModelJobFolder] = []

    def start(folder: ModelJobFolder, gpus: object = None) -> int:
        started.append(folder)
        error = RunFailed("the merged model does not answer like the adapter", why="logits differ")
        with JournalWriter(folder.journal_file) as journal:
            journal.write("started", pid=1, host="here", attempt=1, resumed_from=None)
            journal.write("failed", **error.as_dict(), exit_code=error.exit_code)
        return 1

    monkeypatch.setattr(launch, "start_worker", start)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await _models(app, pilot, until)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, JobForm) and app.screen.draft)
        assert str(tmp_path / "models" / "receipts-merged") in app.screen.draft.text("output")
        app.screen.set_value("output", str(tmp_path / "models"))  # which is not empty
        await pilot.press("r")
        await until(pilot, lambda: app.screen.query_one(ErrorBand).error is not None)
        assert "the output folder is not empty" in text(app) and not started
        app.screen.set_value("output", str(tmp_path / "whole"))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, JobsScreen) and app.screen.items)
        await until(pilot, lambda: "logits differ" in text(app) and "failed" in text(app))
        spec = started[0].read_job_spec()
        assert isinstance(spec, MergeSpec) and spec.output == str(tmp_path / "whole")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
    again = dashboard(tmp_path)
    async with again.run_test(size=size) as pilot:
        await _models(again, pilot, until)
        await pilot.press("J")
        await until(pilot, lambda: isinstance(again.screen, JobsScreen) and again.screen.items)
        assert again.screen.items[0].id == started[0].id


def test_drafts_say_the_command_that_does_the_same(tmp_path: Path) -> None:
    draft = JobDraft("push", "my result", {}, cwd=tmp_path)
    assert draft.missing == {"repository"} and draft.command().endswith("push 'my result' …")
    draft.set_all({"repository": "me/mine", "public": True, "merged": True})
    assert draft.command().endswith("push 'my result' me/mine --public --merged")
    assert isinstance(draft.spec, PushSpec) and draft.spec.public
    draft = JobDraft("export", "mine", {"format": "gguf", "output": "/out", "quantization": "F16, q8_0"}, cwd=tmp_path)
    assert isinstance(draft.spec, ExportSpec) and draft.spec.quantization == ("F16", "Q8_0")
    assert draft.command().endswith("export mine --format gguf --output /out --quantization F16 --quantization Q8_0")
    draft.set("format", "merged")
    assert "quantization" in draft.problems and draft.spec is None
    draft = JobDraft("verify", "mine", {"against": "http://localhost:1/v1"}, cwd=tmp_path)
    assert isinstance(draft.spec, VerifySpec) and draft.command().endswith(
        "verify mine --against http://localhost:1/v1"
    )


def test_an_output_folder_is_suggested_that_does_not_exist(tmp_path: Path) -> None:
    assert unused_folder(tmp_path, "../a b\x1b", "merged").name == "a-b-merged"
    (tmp_path / "exports" / "mine").mkdir(parents=True)
    assert first_values("export", "mine", tmp_path)["output"] == str(tmp_path / "exports" / "mine-2")
    assert first_values("push", "mine", tmp_path) == {}
    with pytest.raises(UsageError):
        MergeSpec.parse({"model": "mine"})

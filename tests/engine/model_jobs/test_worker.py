"""The worker of jobs: an operation's progress, its reply, its errors, and a stop in the middle of it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import RunFailed
from mg_tui.core.events import Event
from mg_tui.core.model_job_spec import ExportSpec, MergeSpec, ModelJobSpec, PushSpec, VerifySpec
from mg_tui.engine.model_jobs import job as job_module
from mg_tui.engine.model_jobs.worker import run_worker
from mg_tui.runs import recents
from mg_tui.runs.caller_bounds import CallerBounds
from mg_tui.runs.control import send_request
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.model_jobs import ModelJobFolder

Operation = Callable[[Any, dict[str, Any]], None]
MERGE = MergeSpec(model="mine", output="/out")


@pytest.fixture
def do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[ModelJobFolder, int]]:
    """Do a job in this process, with an operation of the test; returns its folder and the exit code."""

    def work(spec: ModelJobSpec, operation: Operation, **options: Any) -> tuple[ModelJobFolder, int]:
        folder = ModelJobFolder.create(tmp_path / "home", spec, versions={}, cwd=tmp_path, **options)

        def find(_spec: ModelJobSpec, channel: Any) -> Callable[[dict[str, Any]], None]:
            return lambda request: operation(channel, request)

        monkeypatch.setattr(job_module, "find_operation", find)
        return folder, run_worker(folder.path)

    return work


def events(folder: ModelJobFolder) -> list[Event]:
    return JournalReader(folder.journal_file).read_new()


def test_progress_notices_and_the_reply_are_in_the_journal(
    do: Callable[..., tuple[ModelJobFolder, int]], tmp_path: Path
) -> None:
    def operation(channel: Any, request: dict[str, Any]) -> None:
        channel.send("progress", what="loading", done=0, total=2)
        channel.send_notice("the base was moved")
        channel.send("progress", what="merging", done=1, total=2)
        channel.send("merged", output=request["output"], kind="adapter", comparison={"top1_agreement": 1.0})

    folder, code = do(MERGE, operation)
    told = [(each.kind, dict(each.data)) for each in events(folder) if each.kind not in ("created", "started")]
    assert code == 0 and told == [
        ("plan", {"steps": 2}),
        ("phase", {"name": "loading", "detail": None}),
        ("step", {"step": 0}),
        ("notice", {"text": "the base was moved"}),
        ("phase", {"name": "merging", "detail": None}),
        ("step", {"step": 1}),
        ("finished", {"reply": {"output": "/out", "kind": "adapter", "comparison": {"top1_agreement": 1.0}}}),
    ]
    assert recents.read(tmp_path / "home", "models")[0].reference == "/out"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (MERGE, {"output": "/out", "device": "cpu", "dtype": "auto", "base_model": None}),
        (PushSpec(model="mine", repository="me/mine", public=True), {"repository": "me/mine", "public": True}),
        (VerifySpec(model="mine", against="x.gguf", name="served"), {"name": "served", "min_agreement": 0.9}),
        (ExportSpec(model="mine", output="/out", format="vllm", merged=True), {"merged": True, "min_agreement": 1.0}),
        (
            ExportSpec(model="mine", output="/out", format="gguf", quantization=("F16",)),
            {"quantizations": ["F16"], "adapter": False, "min_agreement": 0.9},
        ),
    ],
    ids=lambda value: value.operation if isinstance(value, ModelJobSpec) else "",
)
def test_an_operation_gets_a_request_it_can_read(
    do: Callable[..., tuple[ModelJobFolder, int]], spec: ModelJobSpec, expected: dict[str, Any]
) -> None:
    """The request's own class reads it: no field is unknown to it, none is missing."""
    from mg_tui.engine.export.export import ExportRequest
    from mg_tui.engine.export.gguf.job import GgufRequest
    from mg_tui.engine.export.verify import VerifyRequest
    from mg_tui.engine.results.merge import MergeRequest
    from mg_tui.engine.results.push import PushRequest

    kinds = {"merge": MergeRequest, "push": PushRequest, "verify": VerifyRequest, "export": ExportRequest}
    kind: Any = GgufRequest if getattr(spec, "format", "") == "gguf" else kinds[spec.operation]
    bounds = CallerBounds(("/data",), (), own_tokens=True)

    def operation(channel: Any, request: dict[str, Any]) -> None:
        assert expected.items() <= request.items() and request["home"]
        read = kind.model_validate(request)
        assert getattr(read, "bounds", bounds) == bounds
        channel.send("done")

    assert do(spec, operation, bounds=bounds)[1] == 0


def test_an_error_ends_a_job_with_its_exit_code(do: Callable[..., tuple[ModelJobFolder, int]]) -> None:
    def operation(channel: Any, request: dict[str, Any]) -> None:
        raise RunFailed("the merged model does not answer like the adapter", why="logits differ")

    folder, code = do(MERGE, operation)
    last = events(folder)[-1]
    assert code == 1 and last.kind == "failed" and last.data["why"] == "logits differ" and last.data["exit_code"] == 1

    def bug(channel: Any, request: dict[str, Any]) -> None:
        raise KeyError("x")

    folder, code = do(MERGE, bug)
    assert code == 1 and "unexpected KeyError" in events(folder)[-1].data["what"]


@pytest.mark.parametrize("busy", [True, False], ids=["while it works", "while it tells"])
def test_a_stop_ends_a_job_where_it_is_and_what_it_wrote_is_removed(
    do: Callable[..., tuple[ModelJobFolder, int]], tmp_path: Path, busy: bool
) -> None:
    from mg_tui.engine.results.publish import publish_folder

    target = tmp_path / "out"

    def operation(channel: Any, request: dict[str, Any]) -> None:
        [folder] = (ModelJobFolder(path) for path in (tmp_path / "home" / "jobs").iterdir())
        channel.send("progress", what="merging", done=1, total=2)
        with publish_folder(target, tag="test") as staging:
            (staging / "half").touch()
            threading.Thread(target=send_request, args=(folder, "stop", "somebody")).start()
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                if busy:
                    time.sleep(60)
                else:
                    channel.send("progress", what="merging", done=1, total=2)
        channel.send("merged", output=str(target))

    folder, code = do(MERGE, operation)
    last = events(folder)[-1]
    assert code == 0 and last.kind == "stopped" and last.data["by"] == "somebody"
    assert [each.kind for each in events(folder)].count("request") == 1
    assert not [path.name for path in tmp_path.iterdir() if path.name != "home"]

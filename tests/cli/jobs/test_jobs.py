"""`merge` and its kin as jobs, and `jobs`: listed, shown, followed, stopped and deleted."""

import json
from pathlib import Path

import pytest

from mg_tui.cli.main import main
from mg_tui.core.errors import RunFailed, UsageError
from mg_tui.core.model_job_spec import MergeSpec, PushSpec
from mg_tui.runs.control import ControlInbox
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.model_jobs import ModelJobFolder
from tests.cli.conftest import FakeWorker

COMPARISON = {
    "positions": 40,
    "mean_difference": 1.25e-6,
    "max_difference": 2e-5,
    "top1_agreement": 1.0,
    "adapter_effect": 0.5,
    "limit": 1e-4,
}
MERGED = {"output": "/out", "dtype": "float32", "comparison": COMPARISON}
PUSHED = {
    "url": "https://hub.example/me/mine",
    "files": [{"name": "model.safetensors", "bytes": 4096}],
    "bytes": 4096,
    "left_out": ["optimizer.pt"],
    "commit": None,
    "private": True,
}


def run_cli(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(args))
    return int(caught.value.code or 0)


def test_merge_says_the_difference(worker: FakeWorker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worker.reply = MERGED
    assert run_cli("merge", "mine", "--output", str(tmp_path / "out")) == 0
    out, err = capsys.readouterr()
    assert out == "/out\n" and "1.25e-06" in err and "100.0%" in err
    assert run_cli("merge", "mine", "--output", "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["comparison"] == COMPARISON
    first, second = worker.specs
    assert isinstance(first, MergeSpec) and first.output == str(tmp_path / "out")
    assert isinstance(second, MergeSpec) and second.output == str(Path.cwd() / "out") and second.device == "cpu"


def test_push_is_private_unless_said_and_a_dry_run_shows_the_card(
    worker: FakeWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    worker.reply = {**PUSHED, "card": "# Mine\n"}
    assert run_cli("push", "mine", "me/mine", "--dry-run") == 0
    out, err = capsys.readouterr()
    assert "# Mine" in out and "model.safetensors" in out and "nothing was sent (private)" in err
    worker.reply = PUSHED
    assert run_cli("push", "mine", "me/mine", "--public") == 0
    out, err = capsys.readouterr()
    assert out == "https://hub.example/me/mine\n" and "not pushed: optimizer.pt" in err
    assert run_cli("push", "mine", "me/mine", "--private") == 0
    assert [spec.public for spec in worker.specs if isinstance(spec, PushSpec)] == [False, True, False]


def test_jobs_are_listed_and_shown(worker: FakeWorker, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("jobs") == 0
    assert "No jobs yet" in capsys.readouterr().err
    worker.reply = MERGED
    run_cli("merge", "mine", "--output", "out")
    worker.reply = RunFailed("the merged model does not answer like the adapter", why="logits differ")
    assert run_cli("merge", "\x1b[31mother", "--output", "elsewhere") == 1
    capsys.readouterr()
    assert run_cli("jobs") == 0
    listed = capsys.readouterr().out
    assert "finished" in listed and "failed" in listed and "mine" in listed and "\x1b" not in listed
    assert run_cli("jobs", "list", "--json") == 0
    failed, good = sorted(json.loads(capsys.readouterr().out), key=lambda job: job["state"])
    assert failed["error"]["why"] == "logits differ" and failed["result"] is None
    assert good["result"] == MERGED and good["operation"] == "merge" and good["total"] == 2
    assert run_cli("jobs", "show", failed["id"]) == 0
    assert "why: logits differ" in capsys.readouterr().out
    assert run_cli("jobs", "show", good["id"]) == 0
    assert "same top-1 token at 100.0%" in capsys.readouterr().out
    assert run_cli("jobs", "watch", good["id"]) == 0
    assert "finished" in capsys.readouterr().err
    assert run_cli("jobs", "rm", "--yes", good["id"]) == 0
    assert run_cli("jobs", "--json") == 0
    assert [job["id"] for job in json.loads(capsys.readouterr().out)] == [failed["id"]]


def test_what_was_mistyped_leaves_no_job(
    worker: FakeWorker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worker.reply = UsageError("no folder, run or base model is called 'mien'", hint="give another")
    assert run_cli("merge", "mien", "--output", "out") == 2
    assert "error: no folder" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for words, error in (
        (["merge", "mine", "--output", str(tmp_path / "full")], "the output folder is not empty"),
        (["merge", "mine"], "output: got nothing; give a path"),
        (["merge", "./mien", "--output", "out"], "the model does not exist"),
        (["merge", "mine", "--output", "out", "--device", "tpu"], "device: got 'tpu'; choose one of auto, cuda, cpu"),
        (["verify", "mine", "--against", "other", "--rows", "0"], "rows: got '0'"),
        (["verify", "mine", "--against", "other", "--min-agreement", "2"], "min_agreement: got '2'"),
    ):
        assert run_cli(*words) == 2
        assert error in capsys.readouterr().err
    assert not list((tmp_path / "home" / "jobs").glob("2*")) and len(worker.specs) == 1


def test_a_running_job_is_stopped_by_a_request_and_not_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_GARDEN_HOME", str(tmp_path))
    folder = ModelJobFolder.create(tmp_path, MergeSpec.parse({"model": "mine", "output": "/out"}), cwd=tmp_path)
    with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host="here", attempt=1, resumed_from=None)
        journal.write("plan", steps=5)
        journal.write("phase", name="merging", detail=None)
        journal.write("step", step=2)
        assert run_cli("jobs", "show", "last") == 0
        assert "merging (40%)" in capsys.readouterr().out
        assert run_cli("jobs", "rm", "--yes", "last") == 2
        assert f"model-garden jobs stop {folder.id}" in capsys.readouterr().err
        monkeypatch.setattr("mg_tui.runs.control.wait_until_seen", lambda *_: False)
        assert run_cli("jobs", "stop", "last") == 0
        [request] = ControlInbox(folder).take()
        assert request.request == "stop" and "cli" in request.by

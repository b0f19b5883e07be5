"""Commands with --server against a real server process do what they do on its machine, and say the same."""

import json
import re
import time

import pytest
from click.testing import CliRunner

from mg_tui.cli.main import cli
from mg_tui.runs.devices import DeviceLocks
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.store import list_runs, run_folders, summarize_run
from tests.api.conftest import Server, wait_for

# What depends on when a command is run.
_PASSING = re.compile(r'^ *"(eta_seconds|elapsed_seconds|not_responding_seconds|cost_to_end)": .*\n', re.MULTILINE)


def settled(text: str) -> str:
    return _PASSING.sub("", text)


def ended(box: Server, state: str) -> RunFolder:
    return next(run.folder for run in list_runs(box.home) if run.state.value == state)


def test_the_list_is_the_same(there, here) -> None:
    got = there("runs", "list", "--json")
    assert got.exit_code == 0, got.output
    listed = json.loads(got.stdout)
    assert {run["state"] for run in listed} >= {"finished", "running", "stopped", "failed", "crashed", "created"}
    assert settled(got.stdout) == settled(here("runs", "list", "--json").stdout)
    shown = there("runs", "list", "--columns", "state,name,step,loss", "--filter", "-invoices").stdout
    assert shown == here("runs", "list", "--columns", "state,name,step,loss", "--filter", "-invoices").stdout


@pytest.mark.parametrize("state", ["finished", "running", "stopped", "failed", "crashed", "created"])
def test_a_run_is_the_same(box, there, here, state) -> None:
    run = ended(box, state).id
    assert settled(there("runs", "show", run, "--json").stdout) == settled(here("runs", "show", run, "--json").stdout)
    if state != "running":  # its clock goes on
        shown = there("runs", "show", run).stdout.replace(f"--server {box.url} ", "")
        assert shown == here("runs", "show", run).stdout
    assert there("runs", "checkpoints", run, "--json").stdout == here("runs", "checkpoints", run, "--json").stdout
    assert there("runs", "logs", run, "-n", "7").stdout == here("runs", "logs", run, "-n", "7").stdout


def test_commands_in_messages_go_to_the_same_server(box, there) -> None:
    shown = there("runs", "show", ended(box, "crashed").id).stdout
    assert f"--server {box.url} runs resume" in shown


def test_a_journal_that_is_watched_is_the_journal(box, there) -> None:
    run = ended(box, "stopped")
    assert there("runs", "watch", run.id, "--json").stdout_bytes == run.journal_file.read_bytes()
    assert there("runs", "watch", str(run.path), "--json").exit_code == 0  # a path is one of the server


def test_a_job_is_created_and_followed_there(box, there, here) -> None:
    """The one run of this module that trains."""
    options = ["--base-model", "tiny", "--dataset", "data/rows.jsonl", "--max-steps", "2", "--sample-count", "0"]
    got = there("train-vision", *options, "--name", "from afar", "--device", "cpu", "--follow")
    assert got.exit_code == 0, got.output
    folder = run_folders(box.home)[0]
    assert f"run      {folder.id}" in got.stderr and f"on       {box.url}" in got.stderr
    assert "finished: 2 steps" in got.stderr
    assert folder.spec_values()["dataset"] == str(box.work / "data/rows.jsonl")
    for command in (("show", "last", "--json"), ("checkpoints", "last", "--json"), ("logs", "last", "-n", "3")):
        assert settled(there("runs", *command).stdout) == settled(here("runs", *command).stdout)
    assert not (box.home.parent / "laptop").exists()


@pytest.mark.slow
def test_a_run_is_stopped_resumed_and_run_again_there(box, there) -> None:
    options = ["--base-model", "tiny", "--dataset", "data/rows.jsonl", "--max-steps", "40", "--sample-count", "0"]
    run = there("train-vision", *options, "--device", "cpu", "--queue").stdout.strip()
    folder = RunFolder(box.home / "runs" / run)
    wait_for(lambda: summarize_run(folder).view.step > 0)
    assert there("runs", "stop", run).exit_code == 0
    wait_for(lambda: summarize_run(folder).state.value == "stopped")
    got = there("runs", "resume", run, "--follow")
    assert got.exit_code == 0 and "resumes  from the checkpoint at step" in got.stderr, got.output
    assert "finished: 40 steps" in got.stderr
    again = there("runs", "rerun", run, "--max-steps", "1", "--follow")
    assert again.exit_code == 0 and "finished: 1 steps" in again.stderr, again.output
    assert run_folders(box.home)[0].id != run


def test_values_that_are_wrong_are_said_by_the_server(box, there) -> None:
    before = len(run_folders(box.home))
    got = there("train-vision", "--base-model", "tiny", "--dataset", "data/rows.jsonl", "--batch-size", "0")
    assert got.exit_code == 1 and "batch_size: got '0'" in str(got.exception)
    missing = there("train-vision", "--base-model", "tiny", "--dataset", "data/none.jsonl")
    assert "the dataset does not exist" in str(missing.exception)
    assert "paths and defaults are those of the server" in str(missing.exception)
    assert len(run_folders(box.home)) == before
    checked = there("train-vision", "--base-model", "tiny", "--dataset", "data/rows.jsonl", "--check-only")
    assert "--check-only does not work with --server" in str(checked.exception)


def test_the_queue_is_managed_from_afar(box, there, here) -> None:
    locks = DeviceLocks(box.home)
    assert locks.take(["cpu"])  # so that nothing starts
    try:
        options = ["--base-model", "tiny", "--dataset", "data/rows.jsonl", "--device", "cpu", "--max-steps", "1"]
        ids = []
        for name in ("one", "two"):
            made = there("train-vision", *options, "--name", name)
            assert made.exit_code == 0, made.output
            ids.append(made.stdout.strip())
            assert "number" in made.stderr and made.stderr.count("queued") == 1
        folders = [RunFolder(box.home / "runs" / id) for id in ids]
        entries = wait_for(lambda: _waiting(there))
        assert [entry["id"] for entry in entries] == ids
        assert [e["id"] for e in json.loads(here("runs", "queue", "--json").stdout)] == ids
        assert there("runs", "move", "two", "first").stderr.strip() == f"{ids[1]} is now at position 1"
        assert there("runs", "hold", "one").exit_code == 0
        held = {entry["id"]: entry["held"] for entry in json.loads(here("runs", "queue", "--json").stdout)}
        assert held == {ids[0]: True, ids[1]: False} and list(held) == ids[::-1]
        assert there("runs", "release", ids[0]).exit_code == 0
        for id in ids:
            stopped = json.loads(there("runs", "stop", id, "--json").stdout)
            assert stopped == {"id": id, "request": "stop", "seen": True}
        assert [summarize_run(folder).state.value for folder in folders] == ["stopped", "stopped"]
    finally:
        locks.release()


def _waiting(there) -> list:
    entries = json.loads(there("runs", "queue", "--json").stdout)
    return entries if len(entries) == 2 and all(entry["waiting_process"] for entry in entries) else []


def test_what_people_write_on_runs_and_the_trash(box, there, here) -> None:
    run = ended(box, "failed").id
    assert "is now called better" in there("runs", "rename", run, "better").stderr
    assert there("runs", "note", run, "tried it").exit_code == 0
    assert "#hard" in there("runs", "tag", run, "hard", "later").stderr
    assert there("runs", "tag", run, "later", "--remove").exit_code == 0
    shown = json.loads(there("runs", "show", "better", "--json").stdout)
    assert (shown["name"], shown["note"], shown["tags"]) == ("better", "tried it", ["hard"])
    assert there("runs", "note", run).stdout == here("runs", "note", run).stdout == "tried it\n"
    assert there("runs", "rename", run, "").exit_code == 0
    removed = there("runs", "rm", run, "--yes")
    assert removed.exit_code == 0 and not (box.home / "runs" / run).exists()
    assert [item["id"] for item in json.loads(there("runs", "trash", "--json").stdout)] == [run]
    assert "handwriting" not in there("runs", "list").stdout
    assert there("runs", "restore", "last").exit_code == 0
    assert (box.home / "runs" / run).exists() and "handwriting" in there("runs", "list").stdout
    assert "does not work with --server" in str(there("runs", "trash", "--empty", "--yes").exception)


def test_requests_reach_the_run(box, there) -> None:
    run = ended(box, "running")
    asked = json.loads(there("runs", "checkpoint", run.id, "--json").stdout)
    assert asked == {"id": run.id, "request": "checkpoint", "seen": False}
    assert "stop" in there("runs", "stop", "invoices-v2").stderr
    names = sorted(path.name.split("-")[1] for path in run.control_dir.iterdir())
    assert names == ["checkpoint", "stop"]
    assert json.loads(there("runs", "stop", run.id, "--json").stdout)["request"] == "stop_now"  # the second time
    refused = there("runs", "stop", ended(box, "finished").id)
    assert refused.exit_code == 1 and "is not running (state: finished)" in str(refused.exception)


def test_a_resume_says_from_where_and_the_server_decides(box, there) -> None:
    refused = there("runs", "resume", ended(box, "finished").id)
    assert "already finished" in str(refused.exception)
    nothing = there("runs", "resume", ended(box, "stopped").id, "--from", "7")
    assert "has no checkpoint '7'" in str(nothing.exception)
    # The synthetic run says in its journal that it has checkpoints, and has none: that machine looks.
    got = there("runs", "resume", ended(box, "stopped").id)
    assert got.exit_code == 1 and "no valid checkpoint" in str(got.exception)
    for given in (["--accept-spec"], ["--output-dir", "x"]):
        assert f"{given[0]} does not work with --server" in str(there("runs", "resume", "x", *given).exception)


def test_a_resume_with_a_limit_of_the_cost_counts_with_the_prices_of_the_server(box, there) -> None:
    run = ended(box, "stopped").id
    got = there("runs", "resume", run, "--from-start", "--max-cost", "2")
    assert got.exit_code == 1 and "what a run costs is not known without a price" in str(got.exception)
    assert there("runs", "resume", run, "--max-cost", "0").exit_code == 2


@pytest.mark.parametrize("arguments", [("merge", "x"), ("runs", "wake"), ("runs", "fetch", "x"), ("doctor",), ("api",)])
def test_what_needs_the_machine_says_so(there, arguments) -> None:
    got = there(*arguments)
    assert got.exit_code == 1 and "does not work with --server" in str(got.exception)


def test_a_second_command_reads_only_what_is_new(box, there, laptop, monkeypatch) -> None:
    from mg_tui.remote.mirror import Mirror

    there("runs", "list")
    written, write = [], Mirror.write

    def note(self, record, **more):
        written.append(record)
        return write(self, record, **more)

    monkeypatch.setattr(Mirror, "write", note)
    assert there("runs", "show", "last").exit_code == 0
    assert all(not record["journal"]["text"] for record in written)
    copies = list((laptop / "cache" / "servers").glob("*/runs/*/events.jsonl"))
    assert len(copies) == len(run_folders(box.home)) and not (laptop / "home").exists()


def test_nothing_is_started_or_written_here(box, there, laptop, monkeypatch) -> None:
    """Copies are never taken for runs of this machine."""
    from mg_tui.core.errors import UsageError
    from mg_tui.remote.garden import RemoteGarden
    from mg_tui.runs import control, launch

    garden = RemoteGarden.open(box.url, laptop / "cache")
    try:
        garden.wait_until_current()
        folder = next(run.folder for run in list_runs(garden.home) if run.state.value == "stopped")
        for act in (
            lambda: launch.start_worker(folder),
            lambda: launch.start_waiter(folder),
            lambda: control.send_request(folder, "stop", "me"),
        ):
            with pytest.raises(UsageError, match="works on the machine of the run only"):
                act()
    finally:
        garden.close()


def test_the_help_does_not_connect(laptop) -> None:
    began = time.monotonic()
    assert CliRunner().invoke(cli, ["--server", "http://127.0.0.1:1", "--help"]).exit_code == 0
    assert time.monotonic() - began < 30


def test_rows_of_a_dataset_are_the_same(box, there, here, monkeypatch) -> None:
    monkeypatch.chdir(box.work)  # so that `here` finds the same file by the same name
    show = ("datasets", "show", "data/rows.jsonl")
    for more in (("--rows", "2:4"), ("--row", "5", "--row", "1"), (), ("--rows", "5:"), ("--dataset-format", "jsonl")):
        got = there(*show, *more, "--json")
        assert got.exit_code == 0, (more, got.exception)
        assert got.stdout == here(*show, *more, "--json").stdout, more
    text = there(*show, "--row", "1").stdout
    assert text.startswith("row 1\n") and "response" in text
    for refused in (("--find", "x"), ("--finding", "too-long"), ("--image-root", "x")):
        assert "does not work with --server" in str(there(*show, *refused).exception)
    assert "no row 99" in str(there(*show, "--row", "99").exception)
    assert "outside the allowed folders" in str(there("datasets", "show", "/etc/passwd").exception)


@pytest.mark.slow
def test_tokens_of_a_row_are_the_same(box, there, here, monkeypatch) -> None:
    monkeypatch.chdir(box.work)
    tokens = ("datasets", "show", "data/rows.jsonl", "--tokens", "--base-model", "tiny", "--row", "1")
    assert json.loads(there(*tokens, "--json").stdout) == json.loads(here(*tokens, "--json").stdout)
    assert "⟦" in there(*tokens).stdout


@pytest.mark.slow
def test_a_check_with_token_counts_is_the_same(box, there, here, monkeypatch) -> None:
    monkeypatch.chdir(box.work)
    check = ("datasets", "check", "data/rows.jsonl", "--base-model", "tiny")
    texts = [re.sub(r"(?m)^took .*$", "", command(*check).stdout) for command in (there, here)]
    assert texts[0] == texts[1] and "tokens" in texts[0]


def test_a_check_is_the_same(box, there, here, monkeypatch) -> None:
    monkeypatch.chdir(box.work)
    rows = [json.loads(line) for line in (box.work / "data/rows.jsonl").read_text().splitlines()]
    rows[1]["image"] = "none.png"
    (box.work / "data/bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for file, code in (("data/rows.jsonl", 0), ("data/bad.jsonl", 1)):
        got, expected = (command("datasets", "check", file, "--json") for command in (there, here))
        assert got.exit_code == expected.exit_code == code
        assert {**json.loads(got.stdout), "seconds": 0} == {**json.loads(expected.stdout), "seconds": 0}
        texts = [command("datasets", "check", file).stdout for command in (there, here)]
        took = re.compile(r"^took .*$", re.MULTILINE)
        assert took.sub("", texts[0]) == took.sub("", texts[1])
    assert "does not work with --server" in str(there("datasets", "check", file, "--fix", "x").exception)


def test_datasets_that_are_known_there(box, there, here) -> None:
    from mg_tui.runs import recents

    recents.remember(box.home, "datasets", str(box.work / "data/rows.jsonl"))
    assert there("datasets", "list", "--json").stdout == here("datasets", "list", "--json").stdout
    assert there("datasets", "list").stdout == here("datasets", "list").stdout != ""


@pytest.mark.parametrize("arguments", [("convert", "a", "b"), ("create",), ("sample", "a", "b")])
def test_datasets_are_not_written_there(there, arguments) -> None:
    assert "does not work with --server" in str(there("datasets", *arguments).exception)


def test_evaluations_are_those_of_the_server(box, there, here) -> None:
    from mg_tui.core.evaluation_spec import EvaluationSpec
    from mg_tui.runs.evaluations import EvaluationFolder
    from mg_tui.runs.lock import RunLock

    assert "No evaluations on the server" in there("evaluations").stderr
    spec = EvaluationSpec.parse({"model": "tiny", "dataset": str(box.work / "data" / "rows.jsonl")})
    first, second = (EvaluationFolder.create(box.home, spec, cwd=box.work) for _ in range(2))
    with RunLock(first.lock_file), JournalWriter(first.journal_file) as journal:
        journal.write("started", pid=1, host="here", attempt=1, resumed_from=None)
        journal.write("plan", steps=6, examples=6)
        journal.write("step", step=2)
        assert json.loads(there("evaluations", "stop", first.id, "--json").stdout)["request"] == "stop"
        assert len(list(first.control_dir.iterdir())) == 1
        journal.write("finished", metrics={"exact_match": 0.5})
    first.log_file.write_text("one\ntwo\n")
    summary = {
        "metrics_reason": "chosen for short answers",
        "metrics": [
            {
                "name": "exact_match",
                "title": "Exact match",
                "score": 0.5,
                "low": 0.2,
                "high": 0.8,
                "higher_is_better": True,
            }
        ],
        "rows": 6,
        "independent_rows": 6,
        "empty_answers": 0,
        "rows_with_errors": 0,
        "failed_metrics": [],
        "groups": {},
    }
    first.results_dir.mkdir(parents=True, exist_ok=True)
    (first.results_dir / "summary.json").write_text(json.dumps(summary))
    for arguments in (("list", "--json"), ("show", first.id, "--json"), ("show", second.id, "--json"), ("list",)):
        got, expected = there("evaluations", *arguments), here("evaluations", *arguments)
        assert got.exit_code == 0, got.output
        assert settled(got.stdout) == settled(expected.stdout), arguments
    assert "exact_match 0.500" in there("evaluations").stdout
    got = there("evaluations", "show", first.id)
    assert got.exit_code == 0, got.exception
    shown = got.stdout
    assert "Exact match  0.500  (0.200 to 0.800)" in shown and "finished" in shown
    assert there("evaluations", "logs", first.id).stdout == "one\ntwo\n"
    assert "Evaluation 'x' not found" in str(there("evaluations", "show", "x").exception)
    for refused in (("watch", first.id), ("rm", first.id), ("show", first.id, "--report", "x.html")):
        assert "does not work with --server" in str(there("evaluations", *refused).exception), refused

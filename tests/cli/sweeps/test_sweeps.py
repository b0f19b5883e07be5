"""`model-garden sweep` and `sweeps`, with workers that are a few lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mg_tui.cli.main import cli
from mg_tui.cli.sweeps.chart import draw_curves
from mg_tui.core.errors import UsageError
from mg_tui.runs import launch, queue
from mg_tui.runs.devices import Device
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.store import run_folders
from mg_tui.runs.sweeps.driver import SweepDriver
from mg_tui.runs.sweeps.folder import SweepFolder, find_sweep

Run = Callable[..., Result]


def work(folder: RunFolder) -> int:
    """A worker that is done at once, in place of a waiting process."""
    rate = float(folder.spec_values()["learning_rate"])
    queue.remove_queue_record(folder)
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, attempt=1)
        journal.write("plan", steps=4)
        for step in (2, 4):
            journal.write("step", step=step, loss=2.0)
            journal.write("eval", step=step, loss=1 + rate * 1000 / step, examples=3)
        journal.write("finished", steps=4)
    return 1


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a folder with a dataset; a sweep's driver looks three times."""
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    (tmp_path / "rows.jsonl").write_text('{"text": "what?", "image": "a.png", "response": "red"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "own.toml"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("mg_tui.runs.devices.find_devices", lambda: [Device("cpu")])
    monkeypatch.setattr(launch, "start_waiter", work)

    monkeypatch.setattr("mg_tui.runs.sweeps.driver.start_driver", lambda folder: 1)  # of `restart_drivers`

    def drive(folder: SweepFolder) -> None:
        driver = SweepDriver(folder)
        assert any(driver.advance() for _ in range(3))

    monkeypatch.setattr("mg_tui.runs.sweeps.operations.start_driver", drive)

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), *arguments])
        if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


START = ("sweep", "rows.jsonl", "--base-model", "tiny", "--over", "learning_rate=3e-4,1e-4,2e-4", "--name", "rates")


def test_a_sweep_from_start_to_table(run: Run, tmp_path: Path) -> None:
    started = run(*START)
    assert started.exit_code == 0, started.stderr
    assert "checked  3 combinations over learning_rate; all can be run" in started.stderr
    assert "run 2/3  finished: loss 1.025; learning_rate 0.0001" in started.stderr
    heading, *rows = started.stdout.splitlines()[2:6]
    assert heading.split() == ["RANK", "RUN", "LEARNING_RATE", "LOSS", "STEP", "ID", "STATE"]
    assert [row.split()[:5] for row in rows] == [
        ["1", "2", "0.0001", "1.025", "4/4"],
        ["2", "3", "0.0002", "1.05", "4/4"],
        ["3", "1", "0.0003", "1.075", "4/4"],
    ]
    assert "a run 2  b run 3  c run 1" in started.stdout
    assert "Best by loss: run 2 (learning_rate 0.0001) with 1.025 at step 4." in started.stdout
    assert run("sweep", "show", "rates").stdout == run("sweeps", "show", "last").stdout == started.stdout
    shown = json.loads(run("sweep", "show", "rates", "--json").stdout)
    assert shown["done"] and [each["rank"] for each in shown["runs"]] == [3, 1, 2]
    assert shown["verdict"][0].startswith("Best by loss: run 2")
    listed = run("sweeps").stdout.splitlines()
    assert listed[0].split() == ["NAME", "RUNS", "STATE", "BEST", "OVER"]
    assert listed[1].split("  ")[0] == "rates" and "run 2: loss 1.025" in listed[1]
    assert json.loads(run("sweeps", "--json").stdout)[0]["name"] == "rates"


def test_the_same_command_again_makes_no_second_sweep(run: Run, tmp_path: Path) -> None:
    run(*START)
    again = run(*START)
    assert again.exit_code == 0 and "rates continues" in again.stderr
    assert len(run_folders(tmp_path / "home")) == 3
    with pytest.raises(UsageError, match="a sweep rates already, with other options"):
        run(*START, "--lora-r", "4")


def test_flags_over_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        '[train]\nbase_model = "tiny"\ndataset = "rows.jsonl"\n[over]\nlearning_rate = [1e-4, 2e-4]\n'
        '[sweep]\nname = "filed"\n'
    )
    assert run("sweep", "s.toml", "--lora-r", "4", "--detach").stdout == "filed\n"
    folder = find_sweep(tmp_path / "home", "filed")
    assert [run_.spec["lora_r"] for run_ in folder.read().runs] == [4, 4]
    assert run("sweep", "watch", "filed").exit_code == 0
    assert "removed filed and 2 runs" in run("sweeps", "rm", "filed", "--with-runs", "--yes").stderr
    assert "No sweeps" in run("sweeps").stderr


def test_only_checked(run: Run, tmp_path: Path) -> None:
    result = run(*START, "--check-only")
    assert "3 combinations" in result.stderr and not (tmp_path / "home").exists()


def test_stop_and_resume(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "start_waiter", lambda folder: 1)
    monkeypatch.setattr("mg_tui.runs.sweeps.operations.start_driver", lambda folder: SweepDriver(folder).advance())
    run(*START, "--detach")
    assert "stopped  3 runs of rates" in run("sweep", "stop", "rates").stderr
    assert "stopped, continue with" in run("sweep", "show", "rates").stdout
    resumed = run("sweep", "resume", "rates", "--detach")
    assert resumed.stderr.count("queued   ") == 3
    assert "its driver does not run" in run("sweep", "show", "rates").stdout
    with pytest.raises(UsageError, match="running or queued"):
        run("sweeps", "rm", "rates", "--yes")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sweep", "rows.jsonl", "--base-model", "tiny"), "needs an option to vary"),
        (("sweep", "rows.jsonl", "--dataset", "x", "--base-model", "tiny", "--over", "lora_r=8,16"), "given twice"),
        ((*START[:-1], "a/b"), "the name of a sweep"),
        ((*START, "--keep", "2"), "keep and after belong together"),
        (("sweep", "show", "nothing"), "no sweep 'nothing'"),
        (("sweep", "rows.jsonl", "--base-model", "tiny", "--over", "lora_r=8,-1"), "combination 2 of 2"),
    ],
)
def test_what_is_wrong_is_said(run: Run, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run(*arguments)
    assert not (tmp_path / "home" / "runs").exists()


def test_help_has_both(run: Run) -> None:
    assert "--over OPTION=V,V" in run("sweep", "--help").stdout
    assert "resume" in run("sweeps", "--help").stdout


def _points(*values: Any) -> list[tuple[float, float]]:
    return list(values)


def test_curves_as_text() -> None:
    assert draw_curves({1: []}, title="loss", width=40) == []
    lines = draw_curves({3: _points((1, 4.0), (10, 2.0)), 7: _points((1, 3.0))}, title="loss", width=31, height=3)
    assert lines == [
        "loss by step",
        "        4 │a",
        "          │b",
        "        2 │                   a",
        "          └────────────────────",
        "           1                 10",
        "a run 3  b run 7",
    ]

"""`model-garden launch`: what is printed, submitted and followed."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from mg_tui.cli.main import cli
from mg_tui.core.errors import DataError, EnvironmentProblem, GardenError, RunFailed, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter

Launch = Callable[..., Result]
TRAIN = ("--base-model", "tiny", "--dataset", "rows.jsonl", "--name", "job")


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launch:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    (tmp_path / "rows.jsonl").write_text('{"text": "what?", "image": "a.png", "response": "red"}\n')
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "own.toml"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), "launch", *arguments])
        if isinstance(result.exception, GardenError):
            raise result.exception
        return result

    return invoke


def add_program(tmp_path: Path, name: str, body: str) -> None:
    path = tmp_path / "bin" / name
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(0o755)


def test_print_needs_no_program_and_writes_nothing(launch: Launch, tmp_path: Path) -> None:
    slurm = launch("slurm", *TRAIN, "--print", "--processes", "2", "--gpu", "a100", "--line", "--qos=long")
    assert slurm.stdout.startswith("#!/bin/bash\n")
    assert "#SBATCH --gpus-per-node=a100:2\n" in slurm.stdout and "#SBATCH --qos=long\n" in slurm.stdout
    assert f"export GARDEN_HOME={tmp_path / 'home'}\n" in slurm.stdout
    sky = yaml.safe_load(launch("skypilot", *TRAIN, "--print", "--nodes", "2", "--on-demand").stdout)
    assert sky["num_nodes"] == 2 and sky["resources"]["use_spot"] is False and sky["workdir"] == str(tmp_path)
    dstack = yaml.safe_load(launch("dstack", *TRAIN, "--volume", "v").stdout)
    assert dstack["volumes"] == [{"name": "v", "path": "/garden"}] and dstack["spot_policy"] == "spot"
    assert not (tmp_path / "home").exists()


def test_a_preset_and_the_settings_are_in_the_file(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[train]\nlora_r = 7\n[presets.mine]\nepochs = 4.0\n")
    text = launch("slurm", *TRAIN, "--print", "--preset", "mine").stdout
    assert "--lora-r 7" in text and "--epochs 4.0" in text


def test_what_is_wrong_is_said_before_anything_is_submitted(launch: Launch, tmp_path: Path) -> None:
    add_program(tmp_path, "sbatch", "open('submitted', 'w')")
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        launch("slurm", "--base-model", "tiny", "--dataset", "nowhere.jsonl", "--name", "job")
    with pytest.raises(UsageError, match="lora_r: got '0'"):
        launch("slurm", *TRAIN, "--lora-r", "0")
    with pytest.raises(UsageError, match="lower-case"):
        launch("slurm", *TRAIN[:-1], "My Job")
    for arguments, words in (
        (("slurm", *TRAIN, "--spot"), "--spot is for skypilot and dstack, not for slurm"),
        (("skypilot", *TRAIN, "--partition", "x"), "--partition is for slurm, not for skypilot"),
        (("pbs", *TRAIN), "'pbs' is not one of"),
    ):
        refused = launch(*arguments)
        assert refused.exit_code == 2 and words in refused.stderr
    assert launch("slurm", *TRAIN, "--optimizer", "adamw_8bit", "--print").exit_code == 0  # the GPU is elsewhere
    assert launch("slurm", *TRAIN[:2], "--dataset", "/there/d.jsonl", "--print", "--no-check").exit_code == 0
    assert not (tmp_path / "submitted").exists()


def test_without_the_program_it_is_said_what_to_install(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for launcher, words in (("slurm", "slurm-client"), ("skypilot", "skypilot")):
        with pytest.raises(EnvironmentProblem) as caught:
            launch(launcher, *TRAIN)
        assert words in str(caught.value)
    assert not (tmp_path / "home").exists()


def test_a_submitted_job_is_followed_by_the_journal_in_the_shared_home(launch: Launch, tmp_path: Path) -> None:
    add_program(tmp_path, "sbatch", "print(12)")
    add_program(tmp_path, "squeue", "print('PENDING')")

    def start() -> None:  # what the job does, some time later
        spec = TrainingSpec(base_model="tiny", dataset="rows.jsonl", name="job")
        with JournalWriter(RunFolder.create(tmp_path / "home", spec).journal_file) as journal:
            journal.write("started", pid=1, attempt=1)
            journal.write("step", step=1, loss=1.0)
            journal.write("finished", steps=1)

    timer = threading.Timer(0.5, start)
    timer.start()
    result = launch("slurm", *TRAIN)
    timer.join()
    assert result.exit_code == 0, result.output
    assert f"job      12 ({tmp_path / 'home' / 'launched' / 'job.sbatch'})" in result.stderr
    assert (tmp_path / "home" / "launched" / "job.sbatch").read_text().startswith("#!/bin/bash")
    assert launch("slurm", *TRAIN, "--detach").stdout == "12\n"


def test_a_job_that_ends_before_its_run_is_an_error(launch: Launch, tmp_path: Path) -> None:
    add_program(tmp_path, "sbatch", "print(12)")
    add_program(tmp_path, "squeue", "sys.exit(1)")
    with pytest.raises(RunFailed, match="Job 12 ended before the run started") as caught:
        launch("slurm", *TRAIN)
    assert "slurm-job-12.log" in str(caught.value)


def test_another_run_is_not_taken_for_the_jobs_own(launch: Launch, tmp_path: Path) -> None:
    add_program(tmp_path, "sbatch", "print(12)")
    RunFolder.create(tmp_path / "home", TrainingSpec(base_model="tiny", dataset="/d", name="odd job"))
    with pytest.raises(UsageError, match="would be taken for 'job'"):
        launch("slurm", *TRAIN)


def test_a_lost_machine_is_warned_of(launch: Launch, tmp_path: Path) -> None:
    add_program(tmp_path, "sky", "open('sky', 'w').write(' '.join(sys.argv[1:3]))")
    assert "takes the run with it" in launch("skypilot", *TRAIN).stderr
    assert "takes the run" not in launch("skypilot", *TRAIN, "--volume", "v").stderr
    assert (tmp_path / "sky").read_text() == "jobs launch"

"""Files for Slurm, SkyPilot and dstack: as they were looked at, with the shell in them valid and doing what it says.

`MODEL_GARDEN_GOLDEN=write uv run pytest tests/runs/launchers` writes them again; look at the difference.
"""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mg_tui.core.errors import EnvironmentProblem, RunFailed, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.launchers.dstack import dstack_task
from mg_tui.runs.launchers.job import ClusterJob, make_job
from mg_tui.runs.launchers.skypilot import skypilot_task
from mg_tui.runs.launchers.slurm import sbatch_file
from mg_tui.runs.launchers.submit import slurm_state, submit_skypilot, submit_slurm, write_job_file
from mg_tui.runs.launchers.yaml_text import to_yaml

GOLDEN = Path(__file__).parent / "golden"
SPECS: dict[str, dict[str, Any]] = {
    "one": {"max_steps": 40, "system_prompt": 'Be brief; it\'s "short" & $HOME', "sync": "s3://bucket/runs/"},
    "two": {"nodes": 2, "processes": 4, "rendezvous": "job:29500", "lora_r": 32},
    "cpu": {"device": "cpu", "processes": 2, "gradient_checkpointing": False},
}
FIELDS: dict[str, dict[str, Any]] = {
    "one": {"gpu": "H100", "hours": 30.5, "setup": ("module load cuda",), "home": "/shared/garden"},
    "two": {"home": "/shared/garden home"},
    "cpu": {"home": "/shared/garden", "hours": 0.25},
}


def job(case: str, **options: Any) -> ClusterJob:
    values = {"base_model": "Qwen/Qwen2.5-VL-3B-Instruct", "dataset": "data/rows.jsonl", **SPECS[case], **options}
    return make_job(TrainingSpec.parse(values), f"job-{case}", cwd=Path("/work dir"), **FIELDS[case])


FORMATS: dict[str, Callable[[ClusterJob], str]] = {
    "sbatch": lambda job: sbatch_file(job, partition="gpu" if job.gpus else None, account="lab"),
    "sky.yaml": lambda job: skypilot_task(job, infra="aws", volume="garden" if job.nodes > 1 else None),
    "dstack.yaml": lambda job: dstack_task(job, spot=job.gpus > 0, volume="garden" if job.nodes > 1 else None),
}


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("case", SPECS)
def test_files_are_as_they_were_looked_at(case: str, ending: str) -> None:
    text = FORMATS[ending](job(case))
    file = GOLDEN / f"{case}.{ending}"
    if os.environ.get("MODEL_GARDEN_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def scripts_in(text: str, ending: str) -> str:
    if ending == "sbatch":
        return text
    task = yaml.safe_load(text)
    return str(task["run"] if "run" in task else "\n".join(task["commands"]))


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("case", SPECS)
def test_the_shell_in_them_is_valid(case: str, ending: str) -> None:
    script = scripts_in(FORMATS[ending](job(case)), ending)
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the PATH with programs that write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return folder


def add_program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport os, sys\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


GARDEN = """
with open(os.environ["CALLS"], "a") as calls:
    print(os.environ["MODEL_GARDEN_HOME"], *sys.argv[1:], sep="|", file=calls)
if sys.argv[1:3] == ["runs", "show"]:
    if os.environ["STATE"] == "none":
        sys.exit(2)
    print('{\\n  "state": "' + os.environ["STATE"] + '"\\n}')
"""


def run_script(text: str, tmp_path: Path, **environ: str) -> list[list[str]]:
    """The calls of `model-garden` that a script makes, without those that only look."""
    script = scripts_in(text, "sky.yaml").replace("/garden/home", str(tmp_path / "volume"))
    done = subprocess.run(["bash", "-c", script], env={**os.environ, **environ}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    calls = [line.split("|") for line in (tmp_path / "calls").read_text().splitlines()]
    return [call for call in calls if call[1:3] != ["runs", "show"]]


def test_a_first_start_trains_and_a_later_one_resumes(programs: Path, tmp_path: Path) -> None:
    add_program(programs, "model-garden", GARDEN)
    text = skypilot_task(job("one", sync=None))
    home = str(tmp_path / "user")
    (trained,) = run_script(text, tmp_path, STATE="none", HOME=home)
    assert trained[0] == f"{home}/garden" and trained[1] == "train-vision"
    assert trained[trained.index("--system-prompt") + 1] == SPECS["one"]["system_prompt"]  # no quote was lost
    assert trained[trained.index("--gpus") + 1] == "all" and trained[trained.index("--name") + 1] == "job-one"
    (tmp_path / "calls").unlink()
    for state in ("crashed", "stopped", "failed", "created"):
        ((_home, *resumed),) = run_script(text, tmp_path, STATE=state, HOME=home)
        assert resumed == ["runs", "resume", "job-one", "--from-start", "--gpus", "all"]
        (tmp_path / "calls").unlink()
    assert run_script(text, tmp_path, STATE="finished", HOME=home) == []


def test_a_copy_is_fetched_before_anything_is_trained(programs: Path, tmp_path: Path) -> None:
    add_program(programs, "model-garden", GARDEN)
    calls = run_script(skypilot_task(job("one")), tmp_path, STATE="none", HOME=str(tmp_path))
    assert calls[0][1:] == ["runs", "fetch", "s3://bucket/runs/job-one"]
    assert calls[1][1] == "train-vision" and "s3://bucket/runs/job-one" in calls[1]


def test_machines_meet_at_the_first_one_also_after_a_restart_elsewhere(programs: Path, tmp_path: Path) -> None:
    add_program(programs, "model-garden", GARDEN)
    text = skypilot_task(job("two"), volume="garden")
    environ = {"SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.8", "SKYPILOT_NODE_RANK": "1"}
    (trained,) = run_script(text, tmp_path, STATE="none", **environ)
    assert trained[0].endswith("volume/node-1")
    for flag, value in (("--nodes", "2"), ("--node-rank", "1"), ("--rendezvous", "10.0.0.7:29500")):
        assert trained[trained.index(flag) + 1] == value
    spec = tmp_path / "volume" / "node-1" / "runs" / "20261130-000000-abcd-job-two" / "spec.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{\n  "nodes": 2,\n  "rendezvous": "10.0.0.7:29500",\n  "node_rank": 1\n}\n')
    (tmp_path / "calls").unlink()
    environ["SKYPILOT_NODE_IPS"] = "10.9.9.9\n10.9.9.8"
    ((_home, *resumed),) = run_script(text, tmp_path, STATE="crashed", **environ)
    assert resumed[:4] == ["runs", "resume", "job-two", "--from-start"] and "--accept-spec" in resumed
    assert '"rendezvous": "10.9.9.9:29500",\n  "node_rank": 1' in spec.read_text()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("Job", {}, "lower-case letters"),
        ("a b", {}, "lower-case letters"),
        ("a", {"notify": "ntfy://secret"}, "readable in the job's file"),
        ("a", {"when_done": "stop"}, "ends the machine by itself"),
        ("a", {"nodes": 2, "rendezvous": "j:1", "sync": "s3://x"}, "sync: not with several machines"),
        ("a", {"nodes": 2, "rendezvous": "j:1", "output_dir": "x"}, "output_dir: not with several machines"),
    ],
)
def test_what_would_not_work_in_a_job_is_said(name: str, options: dict[str, Any], words: str) -> None:
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "d.jsonl", **options})
    with pytest.raises(UsageError, match=words):
        make_job(spec, name, cwd=Path())


def test_data_outside_of_the_working_directory_is_uploaded_too(tmp_path: Path) -> None:
    cwd, elsewhere = tmp_path / "project", tmp_path / "data"
    for folder in (cwd, elsewhere):
        folder.mkdir()
        (folder / "d.jsonl").write_text("")
    spec = TrainingSpec(base_model="tiny", dataset=str(elsewhere / "d.jsonl"), eval_dataset=str(cwd / "d.jsonl"))
    made = make_job(spec, "a", cwd=cwd)
    assert made.paths == (str(elsewhere / "d.jsonl"),)
    assert yaml.safe_load(skypilot_task(made))["file_mounts"] == {made.paths[0]: made.paths[0]}


def test_yaml_is_read_back_as_it_was() -> None:
    values: dict[str, Any] = {
        "plain": "aws", "word": "no", "number": "12", "float": "1e5", "empty": "", "colon": "a: b", "hash": "a #b",
        "unicode": "größe\u2028x", "quote": "it's \"x\"", "lines": "a\n\n  b: |\nc\n", "on": True, "count": 3,
        "list": ["a", "- b", {"name": "v", "path": "/x"}, "x\ny\n"], "map": {"/garden": "v", "down": False},
        "date": "2026-11-30", "tilde": "~", "octal": "0o7", "sexagesimal": "12:30:45",
    }  # fmt: skip
    assert yaml.safe_load(to_yaml(values)) == values


def test_submitting(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_job_file(tmp_path / "home", "a.sbatch", "#!/bin/bash\n")
    add_program(programs, "sbatch", "print('4711;cluster')")
    assert submit_slurm(file) == "4711"
    add_program(programs, "squeue", "print('PENDING') if '--jobs=4711' in sys.argv else sys.exit(1)")
    assert slurm_state("4711") == "PENDING" and slurm_state("1") is None
    add_program(programs, "sbatch", "sys.exit('sbatch: error: invalid partition specified: gpu')")
    with pytest.raises(RunFailed) as caught:
        submit_slurm(file)
    assert "invalid partition specified" in str(caught.value) and str(file) in str(caught.value)
    add_program(programs, "sky", "open(os.environ['CALLS'], 'w').write('|'.join(sys.argv[1:]))")
    submit_skypilot(file, "a")
    assert (tmp_path / "calls").read_text() == f"jobs|launch|--yes|--detach-run|--name|a|{file}"
    monkeypatch.setenv("PATH", str(tmp_path))
    for submit, words in (
        (lambda: submit_slurm(file), "slurm-client"),
        (lambda: submit_skypilot(file, "a"), "skypilot"),
    ):
        with pytest.raises(EnvironmentProblem) as missing:
            submit()
        assert words in str(missing.value) and "--print" in str(missing.value)

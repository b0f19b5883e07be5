"""A container that is started again resumes its run; what is lost when a run is killed."""

import json
import signal
import sys
from pathlib import Path

import pytest


@pytest.fixture
def restart(container):
    return container["restart"]


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A stand-in for `model-garden` whose `runs wake --json` prints the file `answer`, and notes each call."""
    path = tmp_path / "model-garden"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\nhere = Path(__file__).parent\n"
        "with (here / 'calls').open('a') as calls:\n    calls.write(' '.join(sys.argv[1:]) + '\\n')\n"
        "print((here / 'answer').read_text())\n"
    )
    path.chmod(0o755)
    (tmp_path / "answer").write_text("[]")
    return str(path)


def _starts(restart, program: str, *command: str, host: str = "abc", resume: str = "true"):
    home = str(Path(program).parent)
    environment = {"MODEL_GARDEN_HOME": home, "MODEL_GARDEN_RUNS_RESUME_INTERRUPTED": resume}
    return restart.Starts([program, *command], environment, host)


def _calls(program: str) -> list[str]:
    file = Path(program).with_name("calls")
    return file.read_text().splitlines() if file.exists() else []


TRAIN = ("train-vision", "--base-model", "tiny", "--dataset", "/work/train.jsonl")


def test_the_first_start_runs_the_command(restart, program) -> None:
    assert _starts(restart, program, *TRAIN).plan() == restart.Plan([program, *TRAIN])
    assert _calls(program) == []


def test_a_second_start_watches_the_run_that_resumes(restart, program) -> None:
    _starts(restart, program, *TRAIN).plan()
    Path(program).with_name("answer").write_text(
        json.dumps([{"id": "20260101-a", "what": "goes on"}, {"id": "20250101-b", "what": "interrupted"}])
    )
    plan = _starts(restart, program, *TRAIN).plan()
    assert plan.command == [program, "runs", "watch", "20260101-a"] and "20260101-a resumes" in plan.message
    assert _calls(program) == ["runs wake --json"]


def test_a_start_after_the_end_does_not_train_again(restart, program) -> None:
    starts = _starts(restart, program, *TRAIN)
    starts.plan()
    starts.ended(0)
    plan = _starts(restart, program, *TRAIN).plan()
    assert plan.command == ["sleep", "infinity"] and "on-failure" in plan.message


def test_a_start_after_a_failure_runs_the_command_again(restart, program) -> None:
    starts = _starts(restart, program, *TRAIN)
    starts.plan()
    starts.ended(2)
    assert _starts(restart, program, *TRAIN).plan() == restart.Plan([program, *TRAIN])


@pytest.mark.parametrize(
    ("command", "host", "resume"),
    [
        (TRAIN, "another", "true"),
        ((*TRAIN, "--epochs", "2"), "abc", "true"),
        (TRAIN, "abc", ""),
        (("demo",), "abc", "1"),
    ],
)
def test_other_containers_and_commands_are_not_taken_for_a_restart(restart, program, command, host, resume) -> None:
    starts = _starts(restart, program, *TRAIN)
    starts.plan()
    starts.ended(0)
    _starts(restart, program, "demo").plan()
    assert _starts(restart, program, *command, host=host, resume=resume).plan() == restart.Plan([program, *command])


def test_a_broken_answer_and_a_missing_program_resume_nothing(restart, program, tmp_path) -> None:
    Path(program).with_name("answer").write_text("Error: no home")
    assert restart.wake(program) == []
    assert restart.wake(str(tmp_path / "missing")) == []


def test_signals_reach_what_wake_starts(restart, program) -> None:
    Path(program).write_text(
        f"#!{sys.executable}\nimport json, signal\n"
        "print(json.dumps([{'id': str(len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))), 'what': 'goes on'}]))\n"
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        assert restart.wake(program) == ["0"]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([("step", 5), ("checkpoint", 5), ("step", 6)], "it resumes from step 5 and 1 step is lost"),
        ([("step", 7)], "it has no checkpoint and 7 steps are lost"),
        ([], "it has no checkpoint and 0 steps are lost"),
        ([("step", 4), ("checkpoint", 4)], "it resumes from step 4 and 0 steps are lost"),
    ],
)
def test_what_a_run_would_lose(container, tmp_path, events, said) -> None:
    lines = [json.dumps({"kind": kind, "step": step}) for kind, step in events]
    (tmp_path / "events.jsonl").write_text("\n".join([*lines, '{"kind": "step", "st']))  # torn in its last line
    assert container["unsaved"].describe(tmp_path) == f"{tmp_path.name}: if it is killed now, {said}"


def test_a_run_without_a_journal_has_lost_nothing_yet(container, tmp_path) -> None:
    assert container["unsaved"].read_progress(tmp_path / "none") == (0, 0)

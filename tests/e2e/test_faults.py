"""Faults, in real processes: what is left, what is said, and what a resume gives. The table is in docs/faults.md."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import EnvironmentProblem, GardenError
from mg_tui.runs import launch
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader, JournalWriter
from mg_tui.runs.lock import is_held
from mg_tui.runs.resume import find_resume_target, newest_checkpoint
from mg_tui.runs.spec_check import accept_spec
from mg_tui.runs.state import RunState
from mg_tui.runs.store import list_runs, summarize_run

pytestmark = pytest.mark.timeout(900)
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
COMPARED_FIELDS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "supervised_tokens", "tokens")


def events(folder: RunFolder, kind: str | None = None) -> list[Any]:
    found = JournalReader(folder.journal_file).read_new()
    return [event for event in found if kind is None or event.kind == kind]


def wait_until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)


def weights(folder: RunFolder) -> bytes:
    return (folder.model_dir / "adapter_model.safetensors").read_bytes()


def attempts(folder: RunFolder) -> list[tuple[int, list[dict[str, Any]]]]:
    """For each start the step it went on from, and its steps."""
    found: list[tuple[int, list[dict[str, Any]]]] = []
    for event in events(folder):
        if event.kind == "started":
            found.append((event.data["resumed_from"] or 0, []))
        elif event.kind == "step":
            found[-1][1].append({name: event.data[name] for name in COMPARED_FIELDS})
    return found


@pytest.fixture(scope="module")
def reference(lab: Any) -> tuple[bytes, list[dict[str, Any]], float]:
    """Weights, steps and seconds of a run that nothing happened to."""
    folder = lab.run()
    began = time.monotonic()
    lab.run_to_end(folder)
    ((_, steps),) = attempts(folder)
    return weights(folder), steps, time.monotonic() - began


def assert_same_result(folder: RunFolder, reference: tuple[bytes, list[dict[str, Any]], float]) -> None:
    """Weights and losses bit for bit; in the journal no number and no step missing, and none done twice unasked."""
    final, steps, _ = reference
    assert weights(folder) == final
    assert [event.n for event in events(folder)] == list(range(1, len(events(folder)) + 1))
    reached = 0
    for resumed_from, done in attempts(folder):
        assert resumed_from <= reached, "it cannot go on from where it never was"
        assert done == steps[resumed_from : resumed_from + len(done)]
        reached = max(reached, resumed_from + len(done))
    assert reached == len(steps)
    assert summarize_run(folder).view.series.steps == [step["step"] for step in steps]
    assert (summarize_run(folder).state, summarize_run(folder).problem) == (RunState.FINISHED, None)


def describe_progress(folder: RunFolder) -> str:
    """What the worker was doing, from what it left."""
    view = summarize_run(folder).view
    if view.lifecycle == "created":
        return "before its first word"
    if list(folder.checkpoints_dir.glob(".writing-*")):
        return "writing a checkpoint"
    return view.phase or "starting"


def kill_and_resume(
    lab: Any, reference: Any, when: Callable[[RunFolder, Any], None], kills: int = 1
) -> tuple[RunFolder, list[str]]:
    """Kill a run's worker so often, let it go on to the end, and compare; returns where each kill found it.

    A worker that had ended before it could be killed does not count.
    """
    folder: RunFolder = lab.run()
    found: list[str] = []
    for _ in range(kills):
        worker = lab.start(folder)
        when(folder, worker)
        if worker.alive:
            worker.kill()
        if worker.code() == -signal.SIGKILL:
            found.append(describe_progress(folder))
        assert not is_held(folder.lock_file)
        if summarize_run(folder).state is RunState.FINISHED:
            break
        assert summarize_run(folder).state in (RunState.CREATED, RunState.CRASHED)
    if summarize_run(folder).state is not RunState.FINISHED:
        lab.run_to_end(folder)
    assert_same_result(folder, reference)
    return folder, found


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(lab: Any, reference: Any, seed: int) -> None:
    chance = random.Random(seed)
    kill_and_resume(lab, reference, lambda *_: time.sleep(chance.uniform(0, reference[2])), kills=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 150))
def test_killed_at_fifty_moments(
    lab: Any, reference: Any, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """`--junitxml FILE` keeps where each kill found the worker."""
    chance = random.Random(seed)
    found: list[str] = []
    while not found:
        _, found = kill_and_resume(lab, reference, lambda *_: time.sleep(chance.uniform(0, reference[2])))
    record_property("killed", found[0])


def killed_while_writing(lab: Any, reference: Any, chance: random.Random) -> list[str]:
    number = chance.randint(1, 8)

    def when(folder: RunFolder, worker: Any) -> None:
        unfinished = folder.checkpoints_dir / f".writing-step-{number:06d}"
        wait_until(lambda: unfinished.exists() or not worker.alive)
        time.sleep(chance.uniform(0, 0.02))

    folder, found = kill_and_resume(lab, reference, when)
    assert not list(folder.checkpoints_dir.glob(".writing-*"))
    return found


def test_killed_while_a_checkpoint_is_written(lab: Any, reference: Any) -> None:
    killed_while_writing(lab, reference, random.Random(7))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_killed_while_a_checkpoint_is_written_often(
    lab: Any, reference: Any, seed: int, record_property: Callable[[str, object], None]
) -> None:
    (found,) = killed_while_writing(lab, reference, random.Random(seed))
    record_property("killed", found)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_by_a_signal_it_saves_and_goes_on_exactly(lab: Any, reference: Any, number: int) -> None:
    folder = lab.run()
    worker = lab.start(folder)
    wait_until(lambda: len(events(folder, "step")) >= 3)
    worker.kill(signal.SIGHUP)  # of a lost terminal: nothing
    worker.kill(number)
    assert worker.code() == 0
    (stopped,) = events(folder, "stopped")
    assert stopped.data["checkpoint"] == f"checkpoints/step-{stopped.data['step']:06d}"
    assert find_resume_target(folder).step == stopped.data["step"]
    lab.run_to_end(folder)
    assert_same_result(folder, reference)


# --- disks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "none", str(place)], check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill_disk(disk: Path, leave: int) -> Path:
    """Leave so many bytes free."""
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * max(shutil.disk_usage(disk).free - leave, 0))
    return ballast


@ROOT
@pytest.mark.parametrize("foreseen", [True, False], ids=["foreseen", "in the middle"])
def test_a_disk_that_is_full_when_a_checkpoint_is_written(
    lab: Any, reference: Any, small_disk: Path, foreseen: bool
) -> None:
    folder = lab.run(small_disk / "home")

    def before() -> None:
        from mg_tui.engine.checkpointing import writer

        original = writer._require_space

        def full_after_two(checkpoints: Path, step: int, needed: int) -> None:
            if step == 3:
                fill_disk(small_disk, 32 << 20 if foreseen else 48 << 10)
                if not foreseen:
                    return
            original(checkpoints, step, needed)

        writer._require_space = full_after_two

    assert lab.start(folder, before).code() == 3
    (failed,) = events(folder, "failed")
    assert "no room for the checkpoint of step 3" in failed.data["what"]
    assert "earlier checkpoints are intact" in failed.data["why"]
    assert failed.data["exit_code"] == 3
    assert newest_checkpoint(folder) == (2, folder.checkpoints_dir / "step-000002")
    assert not list(folder.checkpoints_dir.glob(".writing-*"))
    (small_disk / "ballast").unlink()
    lab.run_to_end(folder)
    assert_same_result(folder, reference)


@ROOT
def test_a_disk_that_is_full_when_the_journal_is_written(lab: Any, reference: Any, small_disk: Path) -> None:
    folder = lab.run(small_disk / "home", save_steps=2)

    def before() -> None:
        from mg_tui.engine.monitoring import final_event
        from mg_tui.engine.run.reporter import Reporter

        final_event._RETRY_SECONDS = 0.2
        original = Reporter.on_step_end

        def full_at_three(self: Any, args: Any, state: Any, control: Any, **more: Any) -> Any:
            if state.global_step == 3:
                fill_disk(small_disk, 0)
                # The rest of the journal's last page is room still.
                while True:
                    try:
                        self._journal.write("phase", name="training", detail="x" * 200)
                    except EnvironmentProblem:
                        break
            return original(self, args, state, control, **more)

        setattr(Reporter, "on_step_end", full_at_three)  # noqa: B010 - mypy takes no assignment to a method

    worker = lab.start(folder, before)
    wait_until(lambda: (small_disk / "ballast").exists() or not worker.alive)
    time.sleep(1.0)
    assert worker.alive and is_held(folder.lock_file), "it waits for room to say its last word"
    (small_disk / "ballast").unlink()
    assert worker.code() == 3
    (failed,) = events(folder, "failed")
    assert "Cannot write the journal" in failed.data["what"]
    assert failed.data["why"] == "No space left on device"
    lab.run_to_end(folder)
    final, steps, _ = reference
    assert weights(folder) == final
    assert attempts(folder)[-1] == (2, steps[2:])


@ROOT
def test_a_home_that_cannot_be_written(lab: Any, small_disk: Path) -> None:
    folder = lab.run(small_disk / "home")
    lab.run_to_end(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        (found,) = list_runs(small_disk / "home")
        assert (found.state, found.problem) == (RunState.FINISHED, None), "it can be looked at"
        with pytest.raises(EnvironmentProblem, match="Cannot create the run folder") as caught:
            lab.run(small_disk / "home")
        assert caught.value.why == "Read-only file system"
        with pytest.raises(EnvironmentProblem, match="Cannot open the run's lock file") as caught:
            launch.start_worker(folder)
        assert (caught.value.why, caught.value.exit_code) == ("Read-only file system", 3)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(lab: Any) -> RunFolder:
    """A run that was killed with two checkpoints."""
    folder: RunFolder = lab.run()
    worker = lab.start(folder)
    wait_until(lambda: len(events(folder, "checkpoint")) >= 4)
    worker.kill()
    worker.code()
    return folder


@pytest.mark.parametrize("kind", ["flipped", "cut", "missing file", "missing manifest"])
def test_a_damaged_checkpoint_is_passed_over_and_named(lab: Any, reference: Any, stopped: RunFolder, kind: str) -> None:
    newest = newest_checkpoint(stopped)
    assert newest is not None
    file = newest[1] / "adapter_model.safetensors"
    if kind == "flipped":
        data = bytearray(file.read_bytes())
        data[-9] ^= 1
        file.write_bytes(bytes(data))
    elif kind == "cut":
        os.truncate(file, 100)
    else:
        (file if kind == "missing file" else newest[1] / "checkpoint.json").unlink()
    lab.run_to_end(stopped)
    (warning,) = events(stopped, "warning")
    assert "damaged" in warning.data["what"] and newest[1].name in warning.data["where"]
    assert attempts(stopped)[1][0] == newest[0] - 1
    assert_same_result(stopped, reference)


def test_a_journal_torn_and_edited(lab: Any, reference: Any, stopped: RunFolder) -> None:
    lines = stopped.journal_file.read_bytes().splitlines(keepends=True)
    middle = next(n for n, line in enumerate(lines) if b'"plan"' in line)
    lines[middle] = b"\xff\x00 not a line\n"
    stopped.journal_file.write_bytes(b"".join(lines) + b'{"v":1,"n":9')
    shown = summarize_run(stopped)
    assert shown.state is RunState.CRASHED and "1 broken line" in str(shown.problem)
    lab.run_to_end(stopped)
    assert weights(stopped) == reference[0]
    assert "incomplete" in events(stopped, "warning")[0].data["what"]
    assert stopped.journal_file.with_name("events.jsonl.torn").read_bytes() == b'{"v":1,"n":9\n'


def test_a_journal_that_is_gone_costs_the_curve_and_not_the_run(lab: Any, reference: Any, stopped: RunFolder) -> None:
    stopped.journal_file.unlink()
    assert "The journal is missing, empty or invalid" in str(summarize_run(stopped).problem)
    lab.run_to_end(stopped)
    assert weights(stopped) == reference[0]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"base_model": "tiny", "dataset": "d", "epochs": -1}'])
def test_a_spec_that_cannot_be_read(lab: Any, stopped: RunFolder, text: str) -> None:
    before = stopped.spec_file.read_bytes()
    stopped.spec_file.write_text(text)
    with pytest.raises(GardenError):
        find_resume_target(stopped)
    assert lab.start(stopped).code() == 2
    (failed,) = events(stopped, "failed")
    assert str(stopped.spec_file) in str(failed.data["where"])
    stopped.spec_file.write_bytes(before)
    assert find_resume_target(stopped).step is not None, "nothing else is lost"


def test_a_lock_file_left_by_a_dead_machine(lab: Any, reference: Any, stopped: RunFolder) -> None:
    stopped.lock_file.write_text("pid 1 on another machine")
    assert summarize_run(stopped).state is RunState.CRASHED
    lab.run_to_end(stopped)
    assert_same_result(stopped, reference)


def test_a_clock_that_is_set_back(lab: Any, reference: Any) -> None:
    folder = lab.run()

    def before() -> None:
        real, first_step = time.time, b'"kind":"step"'
        time.time = lambda: real() - (86_400.0 if first_step in folder.journal_file.read_bytes() else 0.0)

    worker = lab.start(folder, before)
    assert worker.code() == 0
    assert_same_result(folder, reference)
    moments = [event.t for event in events(folder)]
    assert moments != sorted(moments), "the clock went back"
    shown = summarize_run(folder)
    assert shown.elapsed_seconds(time.time()) == 0.0
    assert shown.view.eta_seconds(time.time()) is None


def test_a_folder_that_was_copied_elsewhere(lab: Any, reference: Any, stopped: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "elsewhere" / "runs" / stopped.id)
    shutil.copytree(stopped.path, copy.path)
    lab.run_to_end(copy)
    assert_same_result(copy, reference)
    assert summarize_run(stopped).state is RunState.CRASHED, "the original is untouched"
    before = json.loads(copy.spec_file.read_text())
    copy.spec_file.write_text(json.dumps({**before, "dataset": "/nowhere/data.jsonl"}))
    shutil.rmtree(copy.model_dir)
    assert lab.start(copy).code() == 2
    assert "was changed" in events(copy, "failed")[-1].data["what"]
    accept_spec(copy, "me")
    assert lab.start(copy).code() == 2, "data that did not come along are named"
    assert "/nowhere/data.jsonl" in str(events(copy, "failed")[-1].data)


def test_a_full_page_of_faults_at_once(lab: Any, reference: Any, stopped: RunFolder) -> None:
    """Killed, copied, torn, and a request nobody saw."""
    from mg_tui.runs import control

    control.send_request(stopped, "checkpoint", "yesterday")
    with stopped.journal_file.open("ab") as file:
        file.write(b'{"v":1')
    with JournalWriter(stopped.journal_file):
        pass
    lab.run_to_end(stopped)
    assert weights(stopped) == reference[0]

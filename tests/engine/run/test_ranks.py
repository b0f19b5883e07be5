"""Runs of two processes on the CPU, as a person starts them: one curve, and an end that says which process was lost."""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from mg_tui.core.events import Event
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import checkpoint_format, control, launch, operations
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.ranks import RankNotes
from mg_tui.runs.state import RunState
from mg_tui.runs.watch import RunWatch

Start = Callable[..., RunFolder]
PATIENCE = 180  # seconds, for a machine that has more to do


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows with an image, and rows with text of several lengths."""
    from scripts.compare_ranks import write_dataset

    folder = tmp_path_factory.mktemp("ranks") / "data"
    write_dataset(folder)
    return folder / "rows.jsonl"


@pytest.fixture
def start(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a run on the CPU; options over quick ones. What it started is ended."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    started: list[RunFolder] = []

    def make(**options: Any) -> RunFolder:
        quick = {
            "base_model": "tiny",
            "dataset": str(dataset),
            "device": "cpu",
            "max_steps": 400,
            "batch_size": 1,
            "gradient_accumulation_steps": 2,
            "learning_rate": 1e-3,
            "warmup_ratio": 0,
            "scheduler": "constant",
            "save_steps": 100,
            "sample_count": 0,
            "lora_r": 4,
            "lora_dropout": 0,
            "processes": 2,
            "rank_timeout": 4,
        }
        folder = RunFolder.create(tmp_path, TrainingSpec.parse({**quick, **options}), versions={})
        operations.start_or_queue(folder, "a test")
        started.append(folder)
        return folder

    yield make
    for folder in started:
        process = launch._started_processes.get(folder.path)
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()


def events(folder: RunFolder, kind: str) -> list[Event]:
    return [event for event in JournalReader(folder.journal_file).read_new() if event.kind == kind]


def losses(folder: RunFolder) -> dict[int, float]:
    return {event.data["step"]: event.data["loss"] for event in events(folder, "step")}


def wait_for_step(folder: RunFolder, step: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while max(losses(folder), default=0) < step:
        watch = RunWatch(folder)
        watch.refresh()
        assert watch.state is RunState.RUNNING, folder.log_file.read_text()[-2000:]
        assert time.monotonic() < deadline, "no such step"
        time.sleep(0.1)


def wait_for_end(folder: RunFolder) -> RunState:
    deadline = time.monotonic() + PATIENCE
    watch = RunWatch(folder)
    while True:
        watch.refresh()
        if watch.state is not RunState.RUNNING:
            return watch.state
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.1)


def rank_pid(folder: RunFolder, rank: int) -> int:
    note = RankNotes(folder.path).read(rank)
    while note is None:  # it is being written
        note = RankNotes(folder.path).read(rank)
    return note.pid


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def require_no_process(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, "a process was left"
        time.sleep(0.05)


def test_a_suspended_process_ends_the_run_with_a_checkpoint_and_one_process_resumes_it(start: Start) -> None:
    folder = start()
    wait_for_step(folder, 3)
    pids = [rank_pid(folder, rank) for rank in (0, 1)]
    os.kill(pids[1], signal.SIGSTOP)
    assert wait_for_end(folder) is RunState.FAILED
    (failed,) = events(folder, "failed")
    assert "training process 1 did not respond for" in failed.data["what"]
    assert "suspended" in failed.data["what"]
    assert (failed.data["rank"], failed.data["error"]) == (1, "RunFailed")
    # Its own step: it may have been suspended after the sum of the gradients, when process 0 was a step further.
    assert failed.data["step"] - max(losses(folder)) in (0, 1) and failed.data["rows"]
    newest, damaged = checkpoint_format.newest_valid(folder.checkpoints_dir)
    assert newest is not None and not damaged
    assert checkpoint_format.step_of(newest) == max(losses(folder)), "the last whole step was saved"
    require_no_process(pids)

    done = max(losses(folder))
    (plan,) = events(folder, "plan")
    operations.resume_run(folder, "a test", processes=1)
    launch.wait_until_started(folder, attempts=1)
    wait_for_step(folder, done + 2)
    assert events(folder, "plan")[-1].data["examples_per_step"] == plan.data["examples_per_step"] == 4
    control.send_request(folder, "stop_now", "a test")
    assert wait_for_end(folder) is RunState.STOPPED


def test_a_killed_process_is_named_and_the_others_are_seen_in_the_journal(start: Start) -> None:
    folder = start()
    wait_for_step(folder, 2)
    pids = [rank_pid(folder, rank) for rank in (0, 1)]
    (first, *_more) = events(folder, "ranks")
    assert [item["rank"] for item in first.data["ranks"]] == [0, 1]
    assert [item["pid"] for item in first.data["ranks"]] == pids
    began = time.monotonic()
    os.kill(pids[1], signal.SIGKILL)
    assert wait_for_end(folder) is RunState.FAILED
    assert time.monotonic() - began < 30
    (failed,) = events(folder, "failed")
    assert failed.data["what"].startswith("training process 1 was killed (SIGKILL)")
    assert f"checkpoint of step {max(losses(folder))} saved" in failed.data["why"]
    require_no_process(pids)


@pytest.mark.slow
def test_the_supervisor_takes_all_processes_with_it(start: Start) -> None:
    folder = start()
    wait_for_step(folder, 1)
    pids = [rank_pid(folder, rank) for rank in (0, 1)]
    launch._started_processes[folder.path].kill()
    require_no_process(pids)
    assert wait_for_end(folder) is RunState.CRASHED


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_process_0_is_named_by_the_supervisor(start: Start, number: signal.Signals) -> None:
    folder = start(save_steps=2)
    wait_for_step(folder, 5)
    pids = [rank_pid(folder, rank) for rank in (0, 1)]
    os.kill(pids[0], number)
    assert wait_for_end(folder) is RunState.FAILED
    (failed,) = events(folder, "failed")
    assert "training process 0" in failed.data["what"] and failed.data["rank"] == 0
    newest, _damaged = checkpoint_format.newest_valid(folder.checkpoints_dir)
    assert newest is not None and (checkpoint_format.step_of(newest) or 0) >= 4
    require_no_process(pids)


@pytest.mark.slow
def test_a_stop_saves_on_all_and_four_two_and_one_process_draw_one_curve(start: Start, tmp_path: Path) -> None:
    whole = start(processes=1, gradient_accumulation_steps=8, max_steps=9)
    assert wait_for_end(whole) is RunState.FINISHED
    folder = start(processes=4, gradient_accumulation_steps=2, max_steps=9, save_steps=3, eval_split=0)
    for processes, until in ((2, 3), (1, 6)):
        wait_for_step(folder, until)
        control.send_request(folder, "stop", "a test")
        assert wait_for_end(folder) is RunState.STOPPED
        attempts = len(events(folder, "started"))
        operations.resume_run(folder, "a test", processes=processes)
        launch.wait_until_started(folder, attempts=attempts)
    assert wait_for_end(folder) is RunState.FINISHED
    one, several = losses(whole), losses(folder)
    assert one.keys() == several.keys()
    assert list(several.values()) == pytest.approx(list(one.values()), rel=1e-4)
    expected = load_file(whole.model_dir / "adapter_model.safetensors")
    got = load_file(folder.model_dir / "adapter_model.safetensors")
    size = sum(float(value.square().sum()) for value in expected.values()) ** 0.5
    off = sum(float((got[name] - value).square().sum()) for name, value in expected.items()) ** 0.5
    assert off / size < 1e-3


@pytest.mark.slow
def test_an_error_of_one_process_is_the_runs_and_names_it(start: Start, dataset: Path) -> None:
    """The image of a row is gone when process 1 or 0 comes to it."""
    folder = start(vision_cache="off", layout="padded")
    wait_for_step(folder, 1)
    image = dataset.parent / "1.png"
    kept = image.read_bytes()
    image.unlink()
    try:
        assert wait_for_end(folder) is RunState.FAILED
    finally:
        image.write_bytes(kept)
    (failed,) = events(folder, "failed")
    assert "can no longer be read" in failed.data["what"]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_killed_at_any_moment_loses_nothing(start: Start, rank: int) -> None:
    """Twenty moments, from the first import to the last step: each attempt ends by itself and the next one resumes."""
    moments = random.Random(rank)
    folder = start(save_steps=2)
    attempts = 0
    for number in range(20):
        notes = RankNotes(folder.path)
        deadline = time.monotonic() + PATIENCE
        while len(events(folder, "started")) <= attempts or notes.read(rank) is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        attempts += 1
        time.sleep(moments.uniform(0, 14))
        before = max(losses(folder), default=0)
        os.kill(rank_pid(folder, rank), signal.SIGKILL)
        began = time.monotonic()
        assert wait_for_end(folder) is RunState.FAILED, number
        assert time.monotonic() - began < 30
        assert f"training process {rank}" in events(folder, "failed")[-1].data["what"]
        newest, damaged = checkpoint_format.newest_valid(folder.checkpoints_dir)
        assert not damaged
        if newest is not None:
            assert (checkpoint_format.step_of(newest) or 0) >= before - 2
        operations.resume_run(folder, "a test", from_start=newest is None)
    deadline = time.monotonic() + PATIENCE
    while len(events(folder, "started")) <= attempts:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    control.send_request(folder, "stop_now", "a test")
    wait_for_end(folder)
    steps = [json.dumps(step) for step in losses(folder)]
    assert len(steps) == len(set(steps))

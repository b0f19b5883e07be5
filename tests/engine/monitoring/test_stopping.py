"""Asking a living worker for something: signals and requests, at any moment, in real processes.

The processes are forked from this one, which has the libraries loaded already.
"""

import contextlib
import json
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from PIL import Image

from mg_tui.core.events import Event
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run import setup
from mg_tui.engine.run.trainer import GardenTrainer
from mg_tui.engine.run.worker import run_worker
from mg_tui.runs import control
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.lock import is_held

TIMEOUT_SECONDS = 60.0  # seconds; far more than anything here takes on a machine that is not overloaded


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run of a thousand steps."""
    Image.new("RGB", (56, 56), "red").save(tmp_path / "red.png")
    row = {"text": "what colour?", "image": "red.png", "response": "red"}
    (tmp_path / "data.jsonl").write_text((json.dumps(row) + "\n") * 8)
    options = {
        "base_model": "tiny",
        "dataset": str(tmp_path / "data.jsonl"),
        "max_steps": 1000,
        "gradient_accumulation_steps": 2,
        "workers": 1,
        "save_steps": 1000,
        "sample_count": 0,
        "lora_r": 2,
        "gradient_checkpointing": False,
    }
    return RunFolder.create(tmp_path, TrainingSpec.parse(options), versions={})


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward passes long enough to be interrupted between."""
    original = GardenTrainer._forward_backward

    def slow(self: Any, *arguments: Any) -> Any:
        time.sleep(0.1)
        return original(self, *arguments)

    monkeypatch.setattr(GardenTrainer, "_forward_backward", slow)


@contextlib.contextmanager
def worker(folder: RunFolder) -> Iterator[int]:
    """A worker in a process of its own; killed at the end if it still lives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setsid()
            log = os.open(folder.log_file, os.O_WRONLY | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            torch.set_num_threads(1)  # sets torch's pools up anew, before several threads try to at once
            code = run_worker(folder.path)
        finally:
            os._exit(code)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def exit_code(pid: int) -> int:
    """Waits for the end of the process; a signal that ended it is a negative number."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    raise TimeoutError("the worker goes on")


def events(folder: RunFolder, kind: str) -> list[Event]:
    return [event for event in JournalReader(folder.journal_file).read_new() if event.kind == kind]


def wait_until(folder: RunFolder, met: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not met():
        assert time.monotonic() < deadline, folder.log_file.read_text()
        time.sleep(0.02)


def count_steps(folder: RunFolder) -> int:
    return len(events(folder, "step"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_stop_with_a_checkpoint(folder: RunFolder, number: signal.Signals) -> None:
    with worker(folder) as pid:
        wait_until(folder, lambda: count_steps(folder) >= 2)
        os.kill(pid, number)
        assert exit_code(pid) == 0
    (stopped,) = events(folder, "stopped")
    assert stopped.data["by"] == f"signal {number.name}"
    assert stopped.data["step"] == count_steps(folder)
    assert stopped.data["checkpoint"] == f"checkpoints/step-{count_steps(folder):06d}"
    assert not is_held(folder.lock_file)


def test_a_lost_terminal_is_nothing(folder: RunFolder) -> None:
    with worker(folder) as pid:
        wait_until(folder, lambda: count_steps(folder) >= 1)
        os.kill(pid, signal.SIGHUP)
        observed = count_steps(folder)
        wait_until(folder, lambda: count_steps(folder) > observed + 2)


def test_a_checkpoint_on_request_and_on_it_goes(folder: RunFolder) -> None:
    with worker(folder) as pid:
        wait_until(folder, lambda: count_steps(folder) >= 1)
        options = control.send_request(folder, "checkpoint", "a test")
        wait_until(folder, lambda: events(folder, "checkpoint"))
        saved = events(folder, "checkpoint")[0].data["step"]
        wait_until(folder, lambda: count_steps(folder) > saved)
        assert not options.exists()
        os.kill(pid, signal.SIGTERM)
        assert exit_code(pid) == 0
    assert [event.data["request"] for event in events(folder, "request")] == ["checkpoint"]


@pytest.mark.usefixtures("slow_steps")
def test_stop_now_ends_within_the_step(folder: RunFolder) -> None:
    with worker(folder) as pid:
        wait_until(folder, lambda: count_steps(folder) >= 1)
        control.send_request(folder, "stop_now", "a test")
        assert exit_code(pid) == 0
    (stopped,) = events(folder, "stopped")
    assert (stopped.data["by"], stopped.data["checkpoint"]) == ("a test", None)
    assert events(folder, "request")[0].data["request"] == "stop_now"


def test_a_second_signal_does_not_wait_for_the_checkpoint(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    original = GardenTrainer._forward_backward

    def twice(self: Any, *arguments: Any) -> Any:
        if self.state.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    monkeypatch.setattr(GardenTrainer, "_forward_backward", twice)
    with worker(folder) as pid:
        assert exit_code(pid) == 0
    (stopped,) = events(folder, "stopped")
    assert stopped.data["checkpoint"] is None
    assert count_steps(folder) <= 2


def stop_while_loading(folder: RunFolder, method: str) -> Event:
    """Stop a worker while it loads the model, by a request or a signal; its last word."""
    with worker(folder) as pid:
        wait_until(folder, lambda: [e for e in events(folder, "phase") if e.data["name"] == "loading model"])
        if method == "signal":
            os.kill(pid, signal.SIGTERM)
        else:
            control.send_request(folder, "stop", "a test")
        assert exit_code(pid) == 0
    (stopped,) = events(folder, "stopped")
    assert stopped.data["by"] == ("signal SIGTERM" if method == "signal" else "a test")
    return stopped


@pytest.mark.parametrize("how", ["request", "signal"])
def test_loading_is_interrupted_at_once(folder: RunFolder, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    def endless(*_arguments: Any) -> Any:
        time.sleep(600)

    monkeypatch.setattr(setup, "load_model", endless)
    stopped = stop_while_loading(folder, how)
    assert (stopped.data["step"], stopped.data["checkpoint"]) == (0, None)
    assert len(events(folder, "request")) == (how == "request")


@pytest.mark.parametrize("how", ["request", "signal"])
def test_a_stop_that_broke_an_import_is_a_stop(folder: RunFolder, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    def swallowing(*_arguments: Any) -> Any:
        with contextlib.suppress(BaseException):  # as torch does when it begins numpy from C
            time.sleep(600)
        raise ImportError("cannot load module more than once per process")

    monkeypatch.setattr(setup, "load_model", swallowing)
    stop_while_loading(folder, how)
    assert not events(folder, "failed")


@pytest.mark.usefixtures("slow_steps")
def test_a_killed_worker_takes_its_helpers_along_and_frees_the_lock(folder: RunFolder) -> None:
    with worker(folder) as pid:
        wait_until(folder, lambda: count_steps(folder) >= 1)
        helpers = psutil.Process(pid).children()
        assert helpers, "the loader's process"
        os.kill(pid, signal.SIGKILL)
        assert exit_code(pid) == -signal.SIGKILL
        assert not is_held(folder.lock_file), "at once, though helpers may live a moment longer"
        _gone, alive = psutil.wait_procs(helpers, timeout=TIMEOUT_SECONDS)
        assert not alive

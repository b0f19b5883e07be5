"""Runs without training: folders made for real, and workers that are small scripts keeping to the worker's rules."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.events import Event
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder

PRELUDE = """
import os, signal, sys, time
from pathlib import Path
from mg_tui.runs.control import ControlInbox
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock

folder = RunFolder(Path(sys.argv[1]))
lock = RunLock(folder.lock_file).acquire()
journal = JournalWriter(folder.journal_file)

def started(attempt=1, resumed_from=None):
    journal.write("started", pid=os.getpid(), host="here", attempt=attempt, resumed_from=resumed_from, versions={})

def step(number):
    journal.write("step", step=number, epoch=0.1, loss=1 / number, learning_rate=1e-4, seconds=0.1, tokens=10, images=1)
"""


def write_at(folder: RunFolder, t: float, kind: str, **data: Any) -> None:
    """Append an event to a run's journal that was written at a Unix time."""
    number = len(folder.journal_file.read_bytes().splitlines()) + 1
    with folder.journal_file.open("a") as file:
        file.write(Event(number, t, kind, data).to_line())


Start = Callable[[RunFolder, str], "subprocess.Popen[bytes]"]


@pytest.fixture
def spec() -> TrainingSpec:
    return TrainingSpec(base_model="tiny", dataset="/data/rows.jsonl")


@pytest.fixture
def folder(tmp_path: Path, spec: TrainingSpec) -> RunFolder:
    return RunFolder.create(tmp_path / "home", spec, versions={"python": "3"})


@pytest.fixture
def prelude() -> str:
    """The beginning of a worker's script."""
    return PRELUDE


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Start]:
    """Start a process that takes a run's lock and journal and then does what a script says."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: RunFolder, body: str) -> "subprocess.Popen[bytes]":
        script = tmp_path / f"worker{len(started)}.py"
        script.write_text(PRELUDE + body)
        process = subprocess.Popen([sys.executable, str(script), str(folder.path)], start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait until something is so."""

    def wait(condition: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it never came about"
            time.sleep(0.01)

    return wait

"""SIGUSR1, which wakes a worker that is loading: sent by anybody else, it means nothing."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.monitoring.stopping import StopHandler, StopRequested
from mg_tui.runs import control
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, TrainingSpec(base_model="tiny", dataset="d.jsonl"))


@pytest.fixture
def stopper(folder: RunFolder) -> Iterator[StopHandler]:
    with JournalWriter(folder.journal_file) as journal, StopHandler(folder, journal) as handler:
        yield handler


def test_a_signal_without_a_request_stops_no_loading(stopper: StopHandler) -> None:
    with stopper.interruptible():
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.05)
    assert stopper.stop_by is None


def test_a_request_still_interrupts_loading(stopper: StopHandler, folder: RunFolder) -> None:
    with pytest.raises(StopRequested), stopper.interruptible():
        control.send_request(folder, "stop", "me")
        time.sleep(20)
    stopper.poll(raise_on="never")
    assert stopper.stop_by == "me"

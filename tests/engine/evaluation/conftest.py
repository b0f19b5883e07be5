"""A dataset of few rows, evaluations of it, and workers in processes of their own."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.core.events import Event
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.journal import JournalReader

FINAL_FILES = ("evaluation.json", "rows.jsonl", "rows.parquet", "summary.json")
MakeEvaluation = Callable[..., EvaluationFolder]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Forty rows, two to an image; every answer is the number of the row, in words of one kind or the other."""
    for number in range(20):
        Image.new("RGB", (56, 56), (12 * number, 90, 160)).save(tmp_path / f"{number}.png")
    rows = [
        {
            "text": f"which number? {number}",
            "image": f"{number // 2}.png",
            "response": f"number {number}",
            "kind": "even" if number % 2 == 0 else "odd",
        }
        for number in range(40)
    ]
    return write_rows(tmp_path / "rows.jsonl", rows)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A dataset of JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def make(tmp_path: Path, dataset: Path) -> MakeEvaluation:
    """Make the folder of an evaluation; `fails_once` makes its endpoint impatient."""

    def make_folder(**options: Any) -> EvaluationFolder:
        values = {"model": "served", "dataset": str(dataset), "retries": 2, "timeout": 5.0, **options}
        return EvaluationFolder.create(tmp_path / "home", EvaluationSpec.parse(values), versions={}, cwd=tmp_path)

    return make_folder


def run(folder: EvaluationFolder) -> int:
    """Do an evaluation in this process; returns the exit code."""
    from mg_tui.engine.evaluation.worker import run_worker

    return run_worker(folder.path)


def events(folder: EvaluationFolder) -> list[Event]:
    """The journal."""
    return JournalReader(folder.journal_file).read_new()


def last(folder: EvaluationFolder) -> Event:
    """The newest event."""
    return events(folder)[-1]


def final_bytes(folder: Path) -> dict[str, str]:
    """Digests of the files that depend on the answers alone."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FINAL_FILES}


@pytest.fixture
def start() -> Iterator[Callable[[EvaluationFolder], "subprocess.Popen[bytes]"]]:
    """Start a worker as `launch` does, but as a child that a test can wait for."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(folder: EvaluationFolder) -> "subprocess.Popen[bytes]":
        with folder.log_file.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", folder.worker, str(folder.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            )
        started.append(process)
        return process

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()

"""Runs in real processes, for faults: small, exact, and quick to start, since they are forked with libraries loaded."""

import contextlib
import json
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_SECONDS = 90.0  # seconds; far more than anything here takes on a machine that is not overloaded


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The fault suite takes real processes, mounts and a real sshd, and time: it is run by `uv run pytest -m slow`."""
    for item in items:
        if item.path.name.startswith("test_faults"):
            item.add_marker(pytest.mark.slow)


class Worker:
    """A worker in a process of its own."""

    def __init__(self, pid: int):
        self.pid = pid
        self._code: int | None = None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        if self._code is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code is None

    def code(self, patience: float = TIMEOUT_SECONDS) -> int:
        """Wait for its end; a signal that ended it is a negative number."""
        deadline = time.monotonic() + patience
        while self.alive:
            assert time.monotonic() < deadline, "the worker goes on"
            time.sleep(0.01)
        assert self._code is not None
        return self._code


class TinyRuns:
    """Makes runs of the tiny model on a few small images, and workers for them."""

    def __init__(self, base: Path):
        self.base = base
        self.home = base / "home"
        self._workers: list[Worker] = []

    def run(self, home: Path | None = None, **options: Any) -> Any:
        """The folder of a run of ten short steps with a checkpoint after each."""
        from mg_tui.core.spec import TrainingSpec
        from mg_tui.runs.folder import RunFolder

        quick = {
            "base_model": "tiny",
            "dataset": str(self.base / "data.jsonl"),
            "max_steps": 10,
            "learning_rate": 2e-3,
            "gradient_accumulation_steps": 2,
            "lora_r": 2,
            "lora_dropout": 0.1,
            "workers": 0,
            "save_steps": 1,
            "save_total_limit": 2,
            "sample_count": 0,
            "gradient_checkpointing": False,
        }
        return RunFolder.create(home or self.home, TrainingSpec.parse({**quick, **options}), versions={})

    def start(self, folder: Any, before: Callable[[], object] | None = None) -> Worker:
        """Fork a worker; `before` changes something in it first."""
        import torch

        from mg_tui.engine.run import log_stream
        from mg_tui.engine.run.worker import run_worker

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
            pid = os.fork()
        if pid == 0:
            code = 70
            try:
                os.setsid()
                log = os.open(folder.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.dup2(log, 1)
                os.dup2(log, 2)
                log_stream.tolerate_full_disk()
                torch.set_num_threads(1)
                if before is not None:
                    before()
                code = run_worker(folder.path)
            finally:
                os._exit(code)
        self._workers.append(Worker(pid))
        return self._workers[-1]

    def run_to_end(self, folder: Any) -> None:
        """Have the run done, or gone on with, to its end."""
        assert self.start(folder).code() == 0, folder.log_file.read_text()[-2000:]

    def close(self) -> None:
        """Leave no process behind."""
        for worker in self._workers:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                if worker.alive:
                    worker.kill()
                    worker.code()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyRuns]:
    """Images, rows, and workers that find their libraries loaded."""
    import torch
    from PIL import Image

    from mg_tui.engine.run import reporter, setup, trainer  # noqa: F401 - so that forked workers need not import them

    base = tmp_path_factory.mktemp("lab")
    rows = []
    for number in range(6):
        Image.new("RGB", (56, 56), (40 * number, 90, 160)).save(base / f"{number}.png")
        rows.append({"text": f"what is {number}?", "image": f"{number}.png", "response": f"{number} is blue"})
    (base / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        # Features of images that another process left in a shared cache may differ in their last bits.
        patch.setenv("MODEL_GARDEN_CACHE", str(base / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        made = TinyRuns(base)
        yield made
        made.close()
    torch.set_num_threads(threads)

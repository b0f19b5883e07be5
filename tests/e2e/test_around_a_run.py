"""What changes around a run while it trains: limits, data workers, images, its folder. In real processes."""

import contextlib
import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.cli.runs.summary import format_page
from mg_tui.runs import heartbeat
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.resume import newest_checkpoint
from mg_tui.runs.state import RunState
from mg_tui.runs.store import summarize_run

pytestmark = pytest.mark.timeout(300)
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def events(folder: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [dict(event.data) for event in JournalReader(folder.journal_file).read_new() if event.kind == kind]


def wait_until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)


def at_step(number: int, act: Callable[[], object]) -> Callable[[], None]:
    """What a worker does after a step, as `before` of its start."""

    def patch() -> None:
        from mg_tui.engine.run.reporter import Reporter

        original = Reporter.on_step_end

        def on_step_end(self: Any, args: Any, state: Any, control: Any, **more: Any) -> Any:
            if state.global_step == number:
                act()
            return original(self, args, state, control, **more)

        setattr(Reporter, "on_step_end", on_step_end)  # noqa: B010 - mypy takes no assignment to a method

    return patch


# --- known causes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [20_000, 200_000], ids=["weights", "optimizer"])
def test_a_file_size_limit_is_named(lab: Any, limit: int) -> None:
    folder = lab.run()
    worker = lab.start(folder, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert worker.code() == 3
    (failed,) = events(folder, "failed")
    assert failed["what"] == "no room for the checkpoint of step 1"
    assert "file-size limit" in failed["why"] and "ulimit -f" in failed["hint"]


@ROOT
def test_no_inodes_are_named(lab: Any, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m,nr_inodes=26", "none", str(disk)]).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        folder = lab.run(disk / "home")
        assert lab.start(folder).code() == 3
        (failed,) = events(folder, "failed")
        assert "no free inodes" in failed["why"] and "earlier checkpoints are intact" in failed["why"]
        assert newest_checkpoint(folder) == (1, folder.checkpoints_dir / "step-000001")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_killed_data_worker_is_named_and_the_run_resumes(lab: Any) -> None:
    folder = lab.run(workers=1)
    worker = lab.start(folder)
    wait_until(lambda: events(folder, "checkpoint"))
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), 9)
    assert worker.code() == 3
    (failed,) = events(folder, "failed")
    assert failed["what"] == "A data worker died."
    assert f"process {children[0]} was killed by SIGKILL" in failed["why"]
    lab.run_to_end(folder)


def test_a_step_whose_images_are_all_gone_is_named(lab: Any) -> None:
    images = sorted(lab.base.glob("*.png"))
    folder = lab.run(on_bad_row="skip")
    try:
        worker = lab.start(folder, at_step(2, lambda: [path.rename(path.with_suffix(".gone")) for path in images]))
        assert worker.code() == 1
    finally:
        for path in lab.base.glob("*.gone"):
            path.rename(path.with_suffix(".png"))
    (failed,) = events(folder, "failed")
    assert failed["what"] == "no row of step 3 can be read any more"
    assert len(failed["rows"]) == 2 and len(failed["images"]) == 2 and "does not exist" in failed["why"]
    lab.run_to_end(folder)


# --- images ----------------------------------------------------------------------------------------------------------


def test_images_replaced_during_and_between_attempts_are_named(lab: Any) -> None:
    image = lab.base / "3.png"
    original = image.read_bytes()

    def replace_image() -> None:
        Image.new("RGB", (84, 56), (1, 2, 3)).save(image)

    try:
        folder = lab.run(max_steps=8)
        worker = lab.start(folder, at_step(3, replace_image))
        assert worker.code() == 0
        (warning,) = events(folder, "warning")
        assert warning["what"] == "1 image changed while the run trains" and str(image) in warning["where"]
        assert int(warning["where"].split(":")[0].removeprefix("step ")) > 3
        assert str(image) in "\n".join(format_page(summarize_run(folder), time.time(), {})), "it is shown"
        image.write_bytes(original)
        folder = lab.run(max_steps=4)
        assert lab.start(folder, at_step(3, lambda: os.kill(os.getpid(), signal.SIGKILL))).code() == -signal.SIGKILL
        replace_image()
        lab.run_to_end(folder)
        (warning,) = events(folder, "warning")
        assert "image files have changed since the checkpoint" in warning["what"] and warning["where"] == str(image)
    finally:
        image.write_bytes(original)


# --- the folder of the run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "moment"), [("home", "step"), ("runs", "checkpoint"), ("run", "result")])
def test_a_folder_that_is_moved_is_not_begun_anew_and_can_be_resumed(
    lab: Any, tmp_path: Path, where: str, moment: str
) -> None:
    home = tmp_path / "home"
    folder = lab.run(home, max_steps=4)
    moved = {"home": home, "runs": home / "runs", "run": folder.path}[where]
    elsewhere = tmp_path / "elsewhere"
    act = lambda: moved.rename(elsewhere)  # noqa: E731
    before = {"step": at_step(2, act), "checkpoint": in_checkpoint(2, act), "result": in_result(act)}[moment]
    assert lab.start(folder, before).code() == 3
    assert not folder.path.exists(), "nothing of it is created again"
    now = RunFolder(elsewhere / folder.path.relative_to(moved))
    (failed,) = events(now, "failed")
    assert failed["what"] == "The folder of this run was moved or removed." and failed["where"] == str(folder.path)
    assert "runs resume" in failed["hint"]
    lab.run_to_end(now)
    assert (now.model_dir / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("moment", ["checkpoint", "result"])
def test_a_folder_that_is_removed_ends_the_run_and_is_not_begun_anew(lab: Any, tmp_path: Path, moment: str) -> None:
    home = tmp_path / "home"
    folder = lab.run(home, max_steps=4)
    act = lambda: shutil.rmtree(home)  # noqa: E731
    before = {"checkpoint": in_checkpoint(2, act), "result": in_result(act)}[moment]
    assert lab.start(folder, before).code() == 3
    assert not home.exists()


def in_checkpoint(step: int, act: Callable[[], object]) -> Callable[[], None]:
    """In the middle of writing a checkpoint."""

    def patch() -> None:
        from mg_tui.engine.checkpointing import trained_weights

        original = trained_weights.save_trained_weights

        def save(model: Any, folder: Path) -> None:
            if folder.name.endswith(f"step-{step:06d}"):
                act()
            original(model, folder)

        trained_weights.save_trained_weights = save

    return patch


def in_result(act: Callable[[], object]) -> Callable[[], None]:
    """In the middle of saving the result."""

    def patch() -> None:
        from mg_tui.engine.results import publish, saving

        original = publish.publish_folder

        @contextlib.contextmanager
        def moving(*arguments: Any, **more: Any) -> Iterator[Path]:
            with original(*arguments, **more) as staging:
                act()
                yield staging

        setattr(saving, "publish_folder", moving)  # noqa: B010 - mypy knows it as another module's name

    return patch


# --- a worker that does not respond ----------------------------------------------------------------------------------


def test_a_stopped_process_is_said_not_to_respond_and_continues(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "SILENT_AFTER", 4.0)  # longer than between two beats
    folder = lab.run()
    worker = lab.start(folder)
    wait_until(lambda: events(folder, "step"))
    assert summarize_run(folder).state_text == "running"
    worker.kill(signal.SIGSTOP)
    try:
        wait_until(lambda: summarize_run(folder).silent_seconds is not None)
        shown = summarize_run(folder)
        assert shown.state is RunState.RUNNING
        assert re.fullmatch(r"running, not responding for \d+ s", shown.state_text)
        page = "\n".join(format_page(shown, time.time(), {}))
        assert f"the process is suspended; `kill -CONT {worker.pid}` continues it" in page
        assert shown.as_dict(time.time())["not_responding_seconds"] >= 4.0
    finally:
        worker.kill(signal.SIGCONT)
    assert worker.code() == 0
    assert summarize_run(folder).state_text == "finished"


def test_a_file_system_that_became_read_only_is_said_not_to_respond(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an error of the disk; a file system with open files cannot be made read-only by a test."""
    monkeypatch.setattr(heartbeat, "SILENT_AFTER", 4.0)

    def refuse(*_arguments: Any, **_more: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def become_read_only() -> None:
        os.utime = os.write = refuse

    def before() -> None:
        from mg_tui.engine.monitoring import final_event

        final_event._RETRY_SECONDS, final_event._RETRIES = 0.5, 12
        at_step(2, become_read_only)()

    folder = lab.run()
    worker = lab.start(folder, before)
    wait_until(lambda: summarize_run(folder).silent_seconds is not None or not worker.alive)
    assert summarize_run(folder).state_text.startswith("running, not responding for")
    assert worker.code() == 3
    assert summarize_run(folder).state is RunState.CRASHED
    lab.run_to_end(folder)


# --- leftovers -------------------------------------------------------------------------------------------------------


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for the names of sockets in it."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as path:
        yield Path(path)


def test_nothing_is_left_in_the_temporary_folder(lab: Any, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short_path))
    folder = lab.run(workers=1)
    worker = lab.start(folder)
    wait_until(lambda: events(folder, "step"))
    (scratch,) = short_path.iterdir()
    assert list(scratch.glob("pymp-*")), "a data worker has a folder for its sockets"
    for child in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split():
        os.kill(int(child), 9)
    assert worker.code() == 3
    assert list(short_path.iterdir()) == [], "of a data worker that was killed"
    worker = lab.start(folder)
    wait_until(lambda: len(events(folder, "started")) == 2 and list(short_path.glob("*/pymp-*")))
    worker.kill()
    worker.code()
    (left,) = short_path.iterdir()
    os.utime(left, (0, 0))
    lab.run_to_end(folder)
    assert list(short_path.iterdir()) == [], "of a worker that was killed: the next one removes it"

"""What changes around a run while it trains: limits, data workers, images, its folder. In real processes."""

import os
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.resume import newest_checkpoint

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

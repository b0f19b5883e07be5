"""In a real terminal (tmux): what is typed ahead in one read loses no run."""

import shutil

import pytest

from tests.tui.synthetic_runs import synthetic_home

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")]


def test_a_burst_reaches_the_filter_and_removes_nothing(tmp_path, in_tmux) -> None:
    with synthetic_home(tmp_path / "home") as home:
        runs = sorted(path.name for path in (home / "runs").iterdir())
        tmux = in_tmux(tmp_path, 80, 24)
        tmux.wait_for("receipts-lora")
        for _ in range(18):
            tmux.type("/xylophone")
            tmux.wait_for("No run matches xylophone")
            tmux.send_keys("Escape")
            tmux.wait_for("receipts-lora")
        tmux.type("xy")
        tmux.wait_for("Remove ")
        tmux.send_keys("n")
        tmux.type("qd")
        tmux.wait_for("left with 0")
        assert sorted(path.name for path in (home / "runs").iterdir()) == runs
        assert not (home / "trash").exists()

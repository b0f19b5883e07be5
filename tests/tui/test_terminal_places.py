"""By keys alone in a real terminal (tmux): a dataset is opened, browsed and checked, a row of it asked of `tiny`."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mg_tui.tui.testing_places import make_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux"),
]


class Tmux:
    """A session of a tmux server of its own, with the dashboard in it."""

    def __init__(self, folder: Path, width: int, height: int):
        self._socket = f"mg-{os.getpid()}-{width}"
        program = f"{sys.executable} -c 'from mg_tui.cli.main import main; main()'; echo left with $?; sleep 60"
        environ = [f"MODEL_GARDEN_HOME={folder / 'home'}", f"MODEL_GARDEN_CACHE={folder / 'cache'}"]
        size = ["-x", str(width), "-y", str(height)]
        self._tmux("new-session", "-d", *size, "-c", str(folder), "env", *environ, "sh", "-c", program)

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, "-f", "/dev/null", *arguments], capture_output=True, text=True
        )
        return done.stdout

    def keys(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        for key in keys:
            self._tmux("send-keys", key)
            time.sleep(0.1)

    def type(self, text: str) -> None:
        """Type a text."""
        self._tmux("send-keys", "-l", text)

    def screen(self) -> str:
        """What is on the screen."""
        return self._tmux("capture-pane", "-p")

    def until(self, pattern: str, seconds: float = 30.0) -> str:
        """Wait until the screen matches."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, shown := self.screen()):
            assert time.monotonic() < deadline, f"no {pattern!r} on\n{shown}"
            time.sleep(0.1)
        return shown

    def close(self) -> None:
        """End the server."""
        self._tmux("kill-server")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_from_a_dataset_to_an_answer(tmp_path, width, height) -> None:
    make_dataset(tmp_path / "rows.jsonl")
    tmux = Tmux(tmp_path, width, height)
    try:
        tmux.until("No runs yet")
        tmux.keys("2")
        tmux.until("rows.jsonl")
        tmux.keys("o")
        tmux.until("Open a dataset")
        tmux.type("rows.js")
        tmux.until(r"rows\.jsonl +\d")
        tmux.keys("Tab", "Enter")
        tmux.until("60 rows")
        tmux.until("▀▀▀▀▀▀▀▀")
        tmux.keys("j", "j")
        tmux.until(r"\(3\)")
        tmux.keys("c")
        tmux.until("checking for tiny")
        tmux.until("Findings [0-9]+", seconds=90)
        tmux.keys("f")
        tmux.until("rows cannot be trained on")
        tmux.keys("n")
        tmux.until("✗|!")
        tmux.keys(":")
        tmux.until("Go to row")
        tmux.type("2")
        tmux.keys("Enter", "t")
        shown = tmux.until(r"\d+ learned", seconds=90)
        assert "▣×" in shown and "<|im_start|>" in shown
        tmux.keys("a")
        tmux.until("Which model is asked about row 2")
        tmux.until("tiny")
        tmux.keys("Enter")
        tmux.until("✓ ready", seconds=90)
        tmux.keys("Enter")
        tmux.until(r"model .*\S", seconds=60)
        tmux.until(r"\d+ tokens?|1 token", seconds=60)
        tmux.keys("Escape")
        tmux.until("learned")
        tmux.keys("q")
        tmux.until("left with 0")
    finally:
        tmux.close()
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    mine = [line for line in listed.splitlines() if "mg_tui.engine" in line and str(tmp_path) in line]
    assert mine == []

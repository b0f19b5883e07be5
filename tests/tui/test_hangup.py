"""A dashboard does not outlive its terminal, with or without a signal."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

from mg_tui.tui.terminal import HANGUP_EXIT_CODE, is_hung_up


def test_a_terminal_is_gone_once_its_other_end_is_closed() -> None:
    master, slave = pty.openpty()
    try:
        assert not is_hung_up(slave)
        os.write(master, b"keys nobody took")
        assert not is_hung_up(slave)
        os.close(master)
        assert is_hung_up(slave)
    finally:
        os.close(slave)


def test_a_terminal_that_goes_without_a_signal_ends_the_dashboard(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("model-garden"), "--home", tmp_path / "home"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,  # and no controlling terminal: nobody sends a hang-up
        env={**os.environ, "MODEL_GARDEN_CONFIG": str(tmp_path / "none.toml"), "TERM": "xterm-256color"},
    )
    os.close(slave)
    output, deadline = b"", time.monotonic() + 30
    while b"Garden" not in output and time.monotonic() < deadline:
        output += os.read(master, 65536)
    assert b"Garden" in output
    os.close(master)
    try:
        assert process.wait(20) in (HANGUP_EXIT_CODE, 0, 1)
    finally:
        process.kill()

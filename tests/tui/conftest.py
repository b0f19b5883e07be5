"""A dashboard on a home folder of synthetic runs, and ways to wait for it and to read its screen."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mg_tui.config import Settings
from mg_tui.tui.app import GardenApp
from tests.tui.synthetic_runs import synthetic_home

SIZES = [(80, 24), (120, 40)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with synthetic_home(tmp_path_factory.mktemp("garden") / "home") as created:
        yield created


@pytest.fixture(autouse=True)
def own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that a test changes are not those of whoever runs it."""
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "own.toml"))


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    return request.param


@pytest.fixture
def dashboard() -> Callable[..., GardenApp]:
    def make(home: Path, **ui: Any) -> GardenApp:
        app = GardenApp(Settings(home=home, cache=home / "cache", ui=ui))
        app.update_period = 0.05  # what people see twice a second, tests need not wait for
        app.runs_feed.set_period(app.update_period)
        return app

    return make


@pytest.fixture
def text() -> Callable[[GardenApp], str]:
    def read(app: GardenApp) -> str:
        strips = app.screen._compositor.render_strips(app.size)
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    return read


@pytest.fixture
def until() -> Callable[..., Any]:
    async def wait(pilot: Any, true: Callable[[], object], seconds: float = 8.0) -> None:
        """Until `true()` is so; reading is done by threads, so nothing happens at once."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, "it did not happen in time"
            await pilot.pause(0.02)
        await pilot.pause()

    return wait


_NUMBERS = count()  # a server that ends keeps its socket for a moment


class TmuxSession:
    """A session of a tmux server of its own, with the dashboard in it."""

    def __init__(self, folder: Path, width: int, height: int, arguments: str = ""):
        self._socket = f"mg-{os.getpid()}-{next(_NUMBERS)}"
        program = (
            f"{sys.executable} -c 'from mg_tui.cli.main import main; main()' {arguments}; echo left with $?; sleep 60"
        )
        environ = [
            f"MODEL_GARDEN_HOME={folder / 'home'}",
            f"MODEL_GARDEN_CACHE={folder / 'cache'}",
            f"MODEL_GARDEN_CONFIG={folder / 'own.toml'}",
        ]
        size = ["-x", str(width), "-y", str(height)]
        self._tmux(
            "new-session",
            "-d",
            *size,
            "-c",
            str(folder),
            "env",
            "-u",
            "COLUMNS",
            "-u",
            "LINES",
            *environ,
            "sh",
            "-c",
            program,
        )

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, "-f", "/dev/null", *arguments], capture_output=True, text=True
        )
        return done.stdout

    def send_keys(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        for key in keys:
            self._tmux("send-keys", key)
            time.sleep(0.3 if key == "Escape" else 0.1)  # Textual waits 0.1 s for what may follow an escape

    def type(self, text: str) -> None:
        """Type a text."""
        self._tmux("send-keys", "-l", text)

    def screen(self) -> str:
        """What is on the screen."""
        return self._tmux("capture-pane", "-p")

    def wait_for(self, pattern: str, seconds: float = 30.0) -> str:
        """Wait until the screen matches."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, screen_text := self.screen()):
            assert time.monotonic() < deadline, f"no {pattern!r} on\n{screen_text}"
            time.sleep(0.1)
        return screen_text

    def close(self) -> None:
        """End the server."""
        self._tmux("kill-server")


@pytest.fixture
def in_tmux() -> Iterator[Callable[..., TmuxSession]]:
    """Sessions that end with the test."""
    created: list[TmuxSession] = []

    def start(folder: Path, width: int, height: int, arguments: str = "") -> TmuxSession:
        created.append(TmuxSession(folder, width, height, arguments))
        return created[-1]

    yield start
    for tmux in created:
        tmux.close()

"""A dashboard on a home folder of made-up runs, and ways to wait for it and to read its screen."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.config import Settings
from mg_tui.tui.app import GardenApp
from mg_tui.tui.testing import garden

SIZES = [(80, 24), (120, 40)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with garden(tmp_path_factory.mktemp("garden") / "home") as made:
        yield made


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    return request.param


@pytest.fixture
def dashboard() -> Callable[..., GardenApp]:
    def make(home: Path, **ui: Any) -> GardenApp:
        app = GardenApp(Settings(home=home, cache=home / "cache", ui=ui))
        app.period = 0.05  # what people see twice a second, tests need not wait for
        app.runs_feed.slow(app.period)
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

"""A server process with synthetic runs, and the command line and cache of a laptop."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mg_tui.cli.main import cli
from mg_tui.data.synthetic.vision_dataset import create_vision_dataset
from tests.api.conftest import Server, start_server, stop_everything
from tests.tui.synthetic_runs import synthetic_home


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A machine with a finished, a running, a stopped, a failed and a crashed run, and one that was not started."""
    work = tmp_path_factory.mktemp("box")
    create_vision_dataset(work / "data" / "rows.jsonl", 6, force=True)
    (work / "home").mkdir()
    with synthetic_home(work / "home"):
        server = start_server(work / "home", work)
        yield server
        server.end()
        stop_everything(server.home)


@pytest.fixture(autouse=True)
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without runs; its working directory and cache."""
    folder = tmp_path / "laptop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(folder / "own.toml"))
    monkeypatch.setenv("MODEL_GARDEN_HOME", str(folder / "home"))
    monkeypatch.setenv("MODEL_GARDEN_CACHE", str(folder / "cache"))
    monkeypatch.delenv("MODEL_GARDEN_TOKEN", raising=False)
    return folder


RunCommand = Callable[..., Result]


@pytest.fixture
def there(box: Server) -> RunCommand:
    """Run a command with `--server`."""
    return lambda *arguments, **more: CliRunner().invoke(cli, ["--server", box.url, *arguments], **more)


@pytest.fixture
def here(box: Server) -> RunCommand:
    """Run a command on the box itself."""
    return lambda *arguments, **more: CliRunner().invoke(cli, ["--home", str(box.home), *arguments], **more)

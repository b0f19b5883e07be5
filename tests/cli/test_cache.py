"""`cache`: sizes, and clearing caches and nothing else."""

import json
from pathlib import Path

from click.testing import CliRunner

from mg_tui.cli.cache import cache
from mg_tui.config import Settings


def test_show_and_clear(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache")
    for name in ("features/ab/x.feat", "images/y", "other/z"):
        path = settings.cache / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"12345")
    runner = CliRunner()

    record = json.loads(runner.invoke(cache, ["--json"], obj=settings).stdout)
    assert record["features"] == record["images"] == {"files": 1, "bytes": 5}

    assert runner.invoke(cache, ["clear", "features"], obj=settings).exit_code == 0
    assert not (settings.cache / "features/ab/x.feat").exists()
    assert (settings.cache / "images/y").exists()

    assert runner.invoke(cache, ["clear"], obj=settings).exit_code == 0
    assert [path.name for path in settings.cache.rglob("*") if path.is_file()] == ["z"]


def test_an_empty_cache(tmp_path: Path) -> None:
    result = CliRunner().invoke(cache, [], obj=Settings(home=tmp_path, cache=tmp_path / "none"))
    assert result.exit_code == 0
    assert " 0 B " in result.output

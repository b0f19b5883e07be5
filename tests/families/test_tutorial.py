"""The package of `plugins new` and the tutorial that edits one: both pass the kit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mg_tui.cli.main import cli
from mg_tui.cli.plugin_template import write_plugin
from mg_tui.core.errors import UsageError
from mg_tui.families.testing import check_family

TUTORIAL = Path(__file__).parents[2] / "docs" / "families-tutorial.md"


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)


def test_a_new_package_declares_a_sound_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(cli, ["plugins", "new", "garden_one", "--folder", str(tmp_path / "one")])
    assert done.exit_code == 0, done.output
    monkeypatch.syspath_prepend(str(tmp_path / "one"))
    import mg_garden_one  # type: ignore[import-not-found]

    assert check_family(mg_garden_one.FAMILY) == []
    entry = (tmp_path / "one" / "pyproject.toml").read_text()
    assert 'garden_one = "mg_garden_one"' in entry and 'name = "model-garden-garden-one"' in entry
    again = CliRunner().invoke(cli, ["plugins", "new", "garden_one", "--folder", str(tmp_path / "one")])
    assert again.exit_code != 0
    with pytest.raises(UsageError, match="cannot be the name of a family"):
        write_plugin("My Family", tmp_path / "two")
    assert not (tmp_path / "two").exists()


@pytest.mark.slow
def test_a_new_package_passes_its_own_tests(tmp_path: Path) -> None:
    folder = write_plugin("garden_two", tmp_path / "garden_two")
    done = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"], folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_tutorial_adds_a_family(tmp_path: Path) -> None:
    """Every block of the page, in order."""
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert [kind for kind, _text in blocks] == ["bash", "python", "python", "bash"]
    folder = tmp_path
    for kind, text in blocks:
        if kind == "python":
            done = run([sys.executable, "-c", text], folder)
            assert done.returncode == 0, done.stderr
            continue
        for line in text.splitlines():
            if line.startswith("cd "):
                folder = folder / line.removeprefix("cd ")
                continue
            program, *arguments = line.split()
            own = [sys.executable, "-c", "from mg_tui.cli.main import main; main()"]
            done = run([*(own if program == "model-garden" else [sys.executable]), *arguments], folder)
            assert done.returncode == 0, done.stdout + done.stderr
    assert "vipllava" in (folder / "mg_vip_llava" / "__init__.py").read_text()

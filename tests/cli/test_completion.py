"""Completion by a shell, and the manual page."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mg_tui.cli.main import cli
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder
from scripts.man_page import MAN_PAGE, man_page


def complete(line: str, home: Path) -> list[str]:
    """What bash would be offered for the last word of a line."""
    words = line.split(" ")
    environ = {
        **os.environ,
        "_MODEL_GARDEN_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "MODEL_GARDEN_HOME": str(home),
    }
    code = "from mg_tui.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("model-garden tr", ["train-vision"]),
        ("model-garden runs res", ["restore", "resume"]),
        ("model-garden train-vision --dty", ["--dtype"]),
        ("model-garden train-vision --dtype b", ["bfloat16"]),
        ("model-garden completion f", ["fish"]),
    ],
)
def test_commands_flags_and_values(tmp_path: Path, line: str, offered: list[str]) -> None:
    assert complete(line, tmp_path) == offered


def test_runs(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, TrainingSpec(base_model="tiny", dataset="/d", name="signs"))
    assert complete("model-garden runs show ", tmp_path) == ["last", folder.id]
    assert complete(f"model-garden runs rm {folder.id[:8]}", tmp_path) == [folder.id]
    assert complete("model-garden runs show ", tmp_path / "empty") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str) -> None:
    script = CliRunner().invoke(cli, ["completion", shell]).stdout
    assert "_MODEL_GARDEN_COMPLETE" in script and "model-garden" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_the_manual_page_is_current_and_has_every_command() -> None:
    page = man_page()
    assert MAN_PAGE.read_text(encoding="utf-8") == page, "run `uv run python scripts/docs_reference.py`"
    for words in (r".SS train\-vision", r".SS runs note", r"\fB\-\-learning\-rate NUMBER\fR", "MODEL_GARDEN_UI_NOTIFY"):
        assert words in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_the_manual_page_is_roff() -> None:
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", str(MAN_PAGE)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr
    assert "train-vision" in done.stdout

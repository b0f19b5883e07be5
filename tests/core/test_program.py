"""A printed command works where it is printed."""

import subprocess
import sys
from pathlib import Path

import pytest

from mg_tui.core.errors import UsageError
from mg_tui.core.program import program, runnable

ROOT = Path(__file__).resolve().parents[2]
OWN = Path(sys.prefix) / "bin" / "model-garden"
NOWHERE = {"PATH": "/nowhere"}


def test_on_the_path_it_is_its_name() -> None:
    assert program({"PATH": str(OWN.parent)}) == "model-garden"


def test_in_uv_run_it_is_uv_run(monkeypatch, tmp_path) -> None:
    environ = {"PATH": str(OWN.parent), "UV_RUN_RECURSION_DEPTH": "1"}
    monkeypatch.chdir(Path(sys.prefix).parent)
    assert program(environ) == "uv run model-garden"
    monkeypatch.chdir(tmp_path)
    assert program(environ).startswith("uv run --project /")


def test_off_the_path_it_is_a_path_that_runs(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert program(NOWHERE) == str(OWN)
    monkeypatch.chdir(Path(sys.prefix).parent)
    words = program(NOWHERE)
    assert not Path(words).is_absolute()
    assert subprocess.run([f"./{words}", "--version"], capture_output=True, text=True).returncode == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "try `model-garden runs` or model-garden --help",
            "try `uv run model-garden runs` or uv run model-garden --help",
        ),
        ("pip install model-garden-qwen2-5-vl", "pip install model-garden-qwen2-5-vl"),
        ("uv run model-garden demo", "uv run model-garden demo"),
        ("in /srv/model-garden runs", "in /srv/model-garden runs"),
    ],
)
def test_commands_in_messages(monkeypatch, text: str, shown: str) -> None:
    monkeypatch.setattr("mg_tui.core.program.program", lambda: "uv run model-garden")
    assert runnable(text) == shown
    assert UsageError("x", hint=text).lines()[-1] == f"  try: {shown}"


def test_the_commands_of_hints_and_form_work(monkeypatch, tmp_path) -> None:
    """Seen from the shell: `uv run model-garden runs show nothing` hints at a command that the shell can run."""
    monkeypatch.chdir(ROOT)
    environ = {"PATH": "/usr/bin:/bin", "UV_RUN_RECURSION_DEPTH": "1", "HOME": str(tmp_path)}
    done = subprocess.run([OWN, "--home", tmp_path, "runs"], env=environ, capture_output=True, text=True)
    assert "uv run model-garden demo" in done.stderr

"""The root command: what it costs, what it prints, how it leaves."""

import subprocess
import sys
from pathlib import Path

import pytest

from mg_tui.cli.main import COMMANDS, cli, main
from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed, UsageError

HEAVY = ("torch", "transformers", "peft", "numpy", "httpx", "PIL", "textual", "psutil", "pynvml")


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], ()),
        (["train-vision", "--help"], ()),
        (["runs"], ("psutil", "pynvml")),
        (["plugins"], ("PIL",)),
    ],
    ids=" ".join,
)
def test_faces_leave_torch_and_its_kin_alone(arguments: list[str], allowed: tuple[str, ...], tmp_path: Path) -> None:
    script = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr))\n"
        f"from mg_tui.cli.main import main; main({['--home', str(tmp_path), *arguments]!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = eval(done.stderr.rpartition("HEAVY ")[2])  # noqa: S307 - our own child's list of names
    assert set(loaded) <= set(allowed)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_its_help_names_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    assert f"model-garden {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("u"), 2), (EnvironmentProblem("e"), 3), (RunFailed("f"), 1), (KeyboardInterrupt(), 130)],
)
def test_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr("mg_tui.cli.main.load_settings", fail)
    with pytest.raises(SystemExit) as left:
        main(["runs"])
    assert left.value.code == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    if isinstance(error, GardenError):
        assert f"error: {error.what}" in captured.err


def test_an_unknown_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["train-vison"])
    assert left.value.code == 2
    assert "did you mean 'train-vision'" in capsys.readouterr().err


def test_the_root_has_no_command_that_help_does_not_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.list_commands(None))  # type: ignore[arg-type]

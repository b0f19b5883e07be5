"""The root command: imports, help, errors and exit codes."""

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
def test_commands_do_not_import_heavy_libraries(arguments: list[str], allowed: tuple[str, ...], tmp_path: Path) -> None:
    script = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr))\n"
        f"from mg_tui.cli.main import main; main({['--home', str(tmp_path), *arguments]!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = eval(done.stderr.rpartition("HEAVY ")[2])  # noqa: S307 - our own child process's list of names
    assert set(loaded) <= set(allowed)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_its_help_names_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
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
    with pytest.raises(SystemExit) as caught:
        main(["runs"])
    assert caught.value.code == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    if isinstance(error, GardenError):
        assert f"error: {error.what}" in captured.err


def test_an_unknown_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train-vison"])
    assert caught.value.code == 2
    assert "did you mean train-vision" in capsys.readouterr().err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    output = capsys.readouterr().out
    assert all(name in output for name in cli.list_commands(None))  # type: ignore[arg-type]

"""Looking at runs costs little: nothing heavy is imported for it."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "numpy", "PIL", "httpx", "textual", "rich", "psutil", "pynvml", "pydantic"}


@pytest.mark.parametrize(
    "module",
    ["runs.store", "runs.launch", "runs.control", "runs.follow", "runs.remove", "hardware.sampler", "hardware.nvml"],
)
def test_modules_are_light(module: str) -> None:
    code = f"import sys, mg_tui.{module}; print(*({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("arguments", [[], ["list", "--json"], ["--help"]])
def test_the_command_is_light(arguments: list[str], tmp_path: object) -> None:
    code = (
        "import sys; from mg_tui.cli.main import cli\n"
        f"cli.main(['--home', {str(tmp_path)!r}, 'runs', *{arguments!r}], standalone_mode=False)\n"
        f"print(*({HEAVY!r} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1].split() == []

"""`model-garden doctor` as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mg_tui.cli.main import cli
from mg_tui.doctor import deep, examination
from mg_tui.doctor.findings import MachineFinding


def run(tmp_path: Path, *args: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "MODEL_GARDEN_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", "from mg_tui.cli.main import main; main()", "--home", str(tmp_path / "home")]
    return subprocess.run(
        [*command, "doctor", *args], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=timeout
    )


def test_it_has_a_line_for_everything(tmp_path: Path) -> None:
    done = run(tmp_path, "--json")
    record = json.loads(done.stdout)
    checks = {finding["check"] for finding in record["findings"]}
    wanted = {"python", "torch", "driver", "compiler", "bitsandbytes", "disk", "memory", "limits", "login", "terminal"}
    assert wanted | {"plugins", "vllm", "llama.cpp", "hub", "clock", "unsloth"} <= checks
    assert done.returncode == (1 if record["counts"]["problem"] else 0)
    assert sum(record["counts"].values()) == len(record["findings"])
    assert not (tmp_path / "home").exists()


def test_fix_makes_the_folders(tmp_path: Path) -> None:
    done = run(tmp_path, "--fix")
    assert (tmp_path / "home").is_dir() and (tmp_path / "cache").is_dir()
    assert f"made {tmp_path / 'home'}" in done.stderr


def finding(level: str) -> MachineFinding:
    return MachineFinding("disk", "home folder", level, "text \x1b[31m", "model-garden cache")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("levels", "code", "last"),
    [
        (["ok"], 0, "1 ok, 0 warnings, 0 problems"),
        (["ok", "warning"], 0, "1 ok, 1 warning, 0 problems"),
        (["problem", "problem"], 1, "0 ok, 0 warnings, 2 problems"),
    ],
)
def test_the_exit_code_says_whether_there_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, levels: list[str], code: int, last: str
) -> None:
    monkeypatch.setattr(examination, "examine_machine", lambda *_args: [finding(level) for level in levels])
    done = CliRunner().invoke(cli, ["--home", str(tmp_path), "doctor"])
    assert done.exit_code == code
    assert done.output.splitlines()[-1] == last
    assert "try: model-garden cache" in done.output and "\x1b" not in done.output


PROGRAM = """
import os, time
from mg_tui.engine.inference.channel import Channel, serve
channel = Channel.from_stdio()
def good(request): channel.send("result", level="ok", text="fine \\x1b[1m", hint=None)
def bad(request): channel.send("result", level="problem", text="broken", hint="mend it")
def dies(request): os.write(2, b"Segmentation fault\\n"); os._exit(139)
def hangs(request): time.sleep(60)
serve(channel, {"device": good, "flex": bad, "flash": dies, "nf4": hangs, "int8": good, "unsloth": good, "nccl": good})
"""


def test_a_deep_check_that_dies_or_hangs_does_not_keep_the_others_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "selftest_standin.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    asked: list[str] = []
    found = list(deep.examine_deeply(program="selftest_standin", seconds=3.0, announce=asked.append))
    levels = {item.check.removeprefix("deep-"): item.level for item in found}
    assert levels == {**dict.fromkeys(deep.CHECKS, "ok"), "flex": "problem", "flash": "problem", "nf4": "problem"}
    assert asked == list(deep.CHECKS.values())
    by_check = {item.check: item for item in found}
    assert by_check["deep-flex"].hint == "mend it"
    assert "Segmentation fault" in by_check["deep-flash"].text
    assert "no answer within 3 s" in by_check["deep-nf4"].text
    assert "\x1b" not in by_check["deep-device"].text


@pytest.mark.slow
def test_the_deep_checks_run_here(tmp_path: Path) -> None:
    done = run(tmp_path, "--deep", "--json", timeout=280)
    record = json.loads(done.stdout)
    deeper = {item["check"]: item["level"] for item in record["findings"] if item["check"].startswith("deep-")}
    assert deeper == dict.fromkeys((f"deep-{name}" for name in deep.CHECKS), "ok"), record

"""Disk, memory, limits, login, clock, torch's files, the Hub, and the whole examination."""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.doctor import examination, gpu_checks, machine_checks, software_checks
from mg_tui.doctor.findings import MachineFinding, guarded, worst_level
from mg_tui.doctor.fixes import apply_fixes
from mg_tui.doctor.hub_checks import HubAnswer, HubQuestion, check_hub
from mg_tui.doctor.torch_build import TorchBuild, find_torch_build, read_torch_build
from mg_tui.runs.llama_cpp import CONVERTER, PROGRAMS, SERVER, built_folder
from tests.hub_server import READ_TOKEN, WRITE_TOKEN, HubServer


def free(monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
    usage = SimpleNamespace(total=100 << 30, used=0, free=int(gib * 2**30))
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)


@pytest.mark.parametrize(("gib", "level"), [(0.5, "problem"), (5, "warning"), (500, "ok")])
def test_room_on_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gib: float, level: str) -> None:
    free(monkeypatch, gib)
    home, cache = machine_checks.check_disk(tmp_path, tmp_path / "not/yet")
    assert (home.level, cache.level) == (level, level)
    assert home.fix is None and cache.fix == ("cache" if level == "ok" else None)


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda *_args: False)
    home, _cache = machine_checks.check_disk(tmp_path, tmp_path)
    assert home.level == "problem" and "MODEL_GARDEN_HOME" in (home.hint or "")


def test_small_shared_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free(monkeypatch, 1 / 16)
    _memory, shared = machine_checks.check_memory(tmp_path)
    assert shared.level == "warning" and "--shm-size" in (shared.hint or "") and shared.for_runs
    free(monkeypatch, 8)
    assert list(machine_checks.check_memory(tmp_path))[1].level == "ok"


def test_limits_are_named_with_what_lifts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {
        resource.RLIMIT_NOFILE: 1024,
        resource.RLIMIT_FSIZE: 1 << 30,
        resource.RLIMIT_AS: 4 << 30,
        resource.RLIMIT_NPROC: 100,
    }
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind], limits[kind]))
    found = list(machine_checks.check_limits())
    assert [finding.hint for finding in found] == [
        "ulimit -n 65536",
        "ulimit -f unlimited",
        "ulimit -v unlimited",
        "ulimit -u 4096",
    ]
    assert [finding.level for finding in found] == ["warning", "problem", "problem", "warning"]
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert [finding.level for finding in machine_checks.check_limits()] == ["ok"]


def test_a_login_that_ends_runs(tmp_path: Path) -> None:
    (ok,) = machine_checks.check_login({}, tmp_path)
    assert ok.level == "ok"
    folder = tmp_path / "etc/systemd/logind.conf.d"
    folder.mkdir(parents=True)
    (tmp_path / "etc/systemd/logind.conf").write_text("[Login]\n#KillUserProcesses=no\nKillUserProcesses=no\n")
    assert not machine_checks.kills_user_processes(tmp_path)
    (folder / "50-kill.conf").write_text("[Login]\nKillUserProcesses = yes\n")
    (kills,) = machine_checks.check_login({"SSH_CONNECTION": "x"}, tmp_path)
    assert kills.level == "problem" and kills.fix == "linger" and "enable-linger" in (kills.hint or "")
    lingering = tmp_path / "var/lib/systemd/linger"
    lingering.mkdir(parents=True)
    import getpass

    (lingering / getpass.getuser()).touch()
    (lingers,) = machine_checks.check_login({}, tmp_path)
    assert lingers.level == "ok"


@pytest.mark.parametrize(
    ("now", "server", "level"),
    [(1_000_000.0, None, "problem"), (2e9, 2e9 + 3, "ok"), (2e9, 2e9 - 900, "warning"), (2e9, None, "ok")],
)
def test_the_clock(now: float, server: float | None, level: str) -> None:
    (found,) = machine_checks.check_clock(now, server)
    assert found.level == level


def test_torch_is_read_without_importing_it(tmp_path: Path) -> None:
    code = (
        "import sys; from mg_tui.doctor.torch_build import find_torch_build as find\n"
        "print(find().version, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, imported = done.stdout.split()
    build = find_torch_build()
    assert build is not None and (version, imported) == (build.version, "False")
    file = tmp_path / "version.py"
    file.write_text("__version__ = '2.9.1+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n")
    assert read_torch_build(file) == TorchBuild("2.9.1+cpu")
    file.write_text("__version__ = '2.15.0+cu132'\ncuda: Optional[str] = '13.2'\nhip: Optional[str] = None\n")
    assert read_torch_build(file) == TorchBuild("2.15.0+cu132", (13, 2))
    file.write_text("__version__ = '2.9'\ncuda = None\nhip: Optional[str] = '6.4'\n")
    assert read_torch_build(file).rocm == "6.4"
    assert read_torch_build(tmp_path / "none.py").problem is not None


@pytest.mark.parametrize(
    ("build", "level"),
    [(None, "problem"), (TorchBuild("?", problem="no"), "problem"), (TorchBuild("2", rocm="6"), "warning")],
)
def test_a_torch_that_cannot_be_used(build: TorchBuild | None, level: str) -> None:
    (found,) = software_checks.check_torch(build)
    assert found.level == level


def test_llama_cpp_is_looked_for_where_exports_and_servers_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)

    def found() -> MachineFinding:
        return next(each for each in software_checks.check_engines(tmp_path) if each.check == "llama.cpp")

    assert found().level == "ok" and "export --setup gguf" in found().text
    folder = built_folder(tmp_path)
    for name in (CONVERTER, *(f"bin/{program}" for program in PROGRAMS if program != SERVER)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch(mode=0o755)
    assert found().level == "warning" and "no llama-server" in found().text
    assert "build it again with `model-garden export --setup gguf`" in (found().hint or "")
    (folder / "bin" / SERVER).touch(mode=0o755)
    assert found().level == "ok" and str(folder / "bin" / SERVER) in found().text
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path / "nothing"))
    assert found().level == "warning" and "LLAMA_CPP_DIR" in (found().hint or "")


def test_the_compiler_matters_to_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    (missing,) = software_checks.check_compiler(gpu=True)
    assert missing.level == "problem" and "flex attention" in missing.text and "gcc" in (missing.hint or "")
    (cpu,) = software_checks.check_compiler(gpu=False)
    assert cpu.level == "ok"
    monkeypatch.setenv("CC", "/no/such/cc")
    (wrong,) = software_checks.check_compiler(gpu=True)
    assert "CC names /no/such/cc" in wrong.text
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("sysconfig.get_path", lambda _name: "/no/include")
    (headers,) = software_checks.check_compiler(gpu=True)
    assert headers.level == "problem" and "headers" in headers.text and "-dev" in (headers.hint or "")


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        server.start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("token", "level", "words"),
    [
        (None, "ok", "no token"),
        (READ_TOKEN, "ok", "may read, and not push"),
        (WRITE_TOKEN, "ok", "may read and push"),
        ("hf_expired", "problem", "does not accept the token"),
    ],
)
def test_what_the_token_may_do(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, token: str | None, level: str, words: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr("mg_tui.doctor.hub_checks._read_token", lambda: token)
    answer = HubQuestion(10.0).answer()
    (found,) = check_hub(answer)
    assert found.level == level and words in found.text
    assert answer.time is not None and abs(answer.time - time.time()) < 60
    assert token is None or token not in found.sentence


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    (found,) = check_hub(HubQuestion(1.0).answer())
    assert found.level == "warning" and "cannot be reached" in found.text
    (broken,) = check_hub(HubAnswer(503))
    assert broken.level == "warning" and "503" in broken.text
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (offline,) = check_hub(HubAnswer())
    assert offline.level == "ok" and "HF_HUB_OFFLINE" in offline.text


def test_a_check_that_breaks_is_a_line_of_its_own() -> None:
    def broken() -> list[MachineFinding]:
        raise ZeroDivisionError("oh")

    (found,) = guarded(broken, "GPUs")
    assert (found.level, found.subject) == ("warning", "GPUs") and "oh" in found.text
    assert worst_level([found]) == "warning" and worst_level([]) == "ok"


def test_fixes_make_folders_and_report_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        MachineFinding("disk", "home folder", "ok", "", fix="home"),
        MachineFinding("login", "login", "problem", "", fix="linger"),
    ]
    monkeypatch.setenv("PATH", str(tmp_path))
    made, lingers = apply_fixes(findings, tmp_path / "home", tmp_path / "cache")
    assert made[1] is None and (tmp_path / "home").is_dir() and not (tmp_path / "cache").exists()
    assert lingers[1] is not None and "loginctl" in str(lingers[1])


def sick(**_arguments: Any) -> list[MachineFinding]:
    return [MachineFinding("gpu-ecc", "GPU 0", "problem", "3 errors", "reset it", for_runs=True)]


def test_what_matters_to_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "check_gpus", lambda *_args: sick())
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.delenv("CC", raising=False)
    spec = TrainingSpec(base_model="tiny", dataset="rows.jsonl")
    found = {finding.check for finding in examination.findings_for_run(spec, tmp_path, tmp_path)}
    assert {"gpu-ecc", "compiler"} <= found
    for changed in ({"attention": "sdpa"}, {"device": "cpu"}):
        less = examination.findings_for_run(spec.model_copy(update=changed), tmp_path, tmp_path)
        assert "compiler" not in {finding.check for finding in less}
        assert ("gpu-ecc" in {finding.check for finding in less}) == ("attention" in changed)
    assert all(finding.level != "ok" for finding in less)

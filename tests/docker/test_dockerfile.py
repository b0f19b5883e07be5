"""The Dockerfile, checked without building the image; docker/try.sh tests the built one."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
LISTS = ("requirements.txt", "tools.txt")
# Pinned by torch itself, which names one exact version of each.
OF_TORCH = re.compile(r"nvidia-(?!ml-py)|cuda-|triton$")


def _export() -> ModuleType:
    spec = importlib.util.spec_from_file_location("export_requirements", DOCKER / "export_requirements.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


export = _export()


def _instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest) for line in text.splitlines() if line.strip() for word, rest in [line.split(maxsplit=1)]]


def _project() -> dict[str, dict[str, object]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_hadolint_passes() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, "docker/Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_does_not_run_as_root() -> None:
    users = [rest for word, rest in _instructions() if word == "USER"]
    assert users and users[-1].isdigit() and users[-1] != "0"


def test_the_image_starts_the_command_and_keeps_data_in_a_volume() -> None:
    last = dict(_instructions())  # the last of each instruction, and so of the last stage
    assert last["ENTRYPOINT"] == '["garden-init", "model-garden"]'
    assert last["VOLUME"] == '["/data"]'
    assert "MODEL_GARDEN_HOME=/data " in last["ENV"] and "HF_HOME=/data/hub " in last["ENV"]


def test_stages_start_from_the_argument() -> None:
    known = {"${BASE_IMAGE}"}
    for word, rest in _instructions():
        if word == "FROM":
            base, *name = rest.split()
            assert base in known
            known |= set(name[1:])


@pytest.mark.parametrize("name", LISTS)
def test_lists_have_hashes_and_no_urls(name: str) -> None:
    text = (DOCKER / name).read_text()
    assert export.find_problems(text) == []
    assert not re.search(r"^\s*-(?!-hash=)", text, flags=re.MULTILINE)  # no option of pip's but hashes


def test_list_has_the_versions_of_pyproject() -> None:
    project = _project()
    constraints = export.list_versions("\n".join(project["tool"]["uv"]["constraint-dependencies"]))  # type: ignore[index]
    pinned = constraints | export.list_versions("\n".join(project["dependency-groups"]["current"]))  # type: ignore[arg-type]
    listed = export.list_versions((DOCKER / "requirements.txt").read_text())
    differing = {
        name: versions for name, versions in listed.items() if not OF_TORCH.match(name) and versions != pinned.get(name)
    }
    assert differing == {}, "run `uv run python docker/export_requirements.py`"


def test_the_list_has_every_dependency() -> None:
    listed = export.list_versions((DOCKER / "requirements.txt").read_text())
    ours = {"model-garden-qwen2-5-vl"}
    for dependency in _project()["project"]["dependencies"]:  # type: ignore[attr-defined]
        name = re.split(r"[^A-Za-z0-9._-]", dependency)[0].lower()
        assert name in listed or name in ours, "run `uv run python docker/export_requirements.py`"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("pluggy==1.7.0", "pluggy==1.7.0 has no hash"),
        ("pluggy>=1.7 --hash=sha256:00", "pluggy>=1.7 is not a package with an exact version"),
        ("-e ./plugins/mine", "-e is not a package with an exact version"),
        (
            "pluggy==1.7.0 \\\n    --hash=sha256:00\n--index-url https://mirror.example/simple",
            "there is a download address in it",
        ),
        ("# nothing", "there is no package in it"),
    ],
)
def test_problems_of_a_list_are_reported(line: str, problem: str) -> None:
    assert problem in export.find_problems(line + "\n")


def test_compose_file_has_gpus_grace_period_and_volumes() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    garden = compose["services"]["garden"]
    (device,) = garden["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia" and "gpu" in device["capabilities"]
    assert [volume.rpartition(":")[2] for volume in garden["volumes"]] == ["/data", "/data/hub", "/work"]
    assert set(compose["volumes"]) == {"garden-data", "garden-hub"}
    assert garden["stdin_open"] and garden["tty"] and garden["init"] is False
    assert garden["stop_grace_period"] == "3m"
    assert compose["services"]["garden-cpu"]["deploy"] == {}


def test_compose_up_starts_the_api_on_loopback_alone() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    assert [name for name, service in services.items() if not service.get("profiles")] == ["api"]
    for name in ("api", "api-cpu"):
        service = services[name]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["restart"] == "unless-stopped" and service["stop_grace_period"] == "3m"
        arguments = service["command"]
        assert arguments[0] == "api" and "--behind-proxy" in arguments  # so that every request needs a token
    assert not any("ports" in services[name] for name in ("garden", "garden-cpu"))


def test_the_command_of_compose_is_one_that_the_api_takes() -> None:
    from mg_tui.cli.api import api
    from mg_tui.gate import Listener, check_listener

    command = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["api"]["command"]
    values = api.make_context("api", list(command[1:])).params
    listener = Listener(values["host"], values["port"], None, None, values["behind_proxy"], values["allowed_hosts"])
    check_listener(listener)
    assert listener.needs_token and {"localhost", "127.0.0.1"} <= listener.hosts


@pytest.mark.parametrize("script", ["build.sh", "try.sh"])
def test_scripts_are_shell_and_executable(script: str) -> None:
    path = DOCKER / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_dockerignore_allows_what_the_image_copies() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    assert "*" in ignore
    for word, rest in _instructions():
        if word == "COPY" and "--from" not in rest:
            sources = [part for part in rest.split() if not part.startswith("--")][:-1]
            for source in sources:
                path = source.replace("${REQUIREMENTS}", "docker/requirements.txt")
                assert any(Path(path).match(pattern) for pattern in allowed), path
                assert (ROOT / path).exists()

"""The Dockerfile, checked without building the image; docker/try.sh tests the built one."""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"


def _export() -> ModuleType:
    spec = importlib.util.spec_from_file_location("export_requirements", DOCKER / "export_requirements.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


export = _export()
VARIANTS = tuple(export.VARIANTS)
LISTS = (*(f"requirements-{variant}.txt" for variant in VARIANTS), "tools.txt")


def _instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest) for line in text.splitlines() if line.strip() for word, rest in [line.split(maxsplit=1)]]


def _project() -> dict[str, dict[str, object]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_dockerfile_shell_scripts_and_workflows_pass_their_lints() -> None:
    programs = Path(sys.executable).parent
    if missing := [name for name in ("hadolint", "shellcheck", "zizmor") if not (programs / name).exists()]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    command = [ROOT / "scripts" / "lint_scripts.sh"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_does_not_run_as_root() -> None:
    users = [rest for word, rest in _instructions() if word == "USER"]
    assert users and users[-1].isdigit() and users[-1] != "0"


def test_the_image_starts_the_command_and_keeps_data_in_a_volume() -> None:
    last = dict(_instructions())  # the last of each instruction, and so of the last stage
    assert last["ENTRYPOINT"] == '["garden-init", "model-garden"]'
    assert last["VOLUME"] == '["/data"]'
    assert "MODEL_GARDEN_HOME=/data " in last["ENV"] and "HF_HOME=/data/hub " in last["ENV"]


def _stage(name: str) -> list[tuple[str, str]]:
    """The instructions of one stage, and before them those of the stages it stands on."""
    stages: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for word, rest in _instructions():
        if word == "FROM":
            base, *label = rest.split()
            stages[label[-1]] = current = [*stages.get(base, [])]
        else:
            current.append((word, rest))
    return stages[name]


@pytest.mark.parametrize("target", ["runtime", "cloud"])
def test_our_own_code_is_the_last_layer_and_the_packages_are_shared(target: str) -> None:
    layers = [rest for word, rest in _stage(target) if word in ("RUN", "COPY", "ADD")]
    assert [layer.split()[0] for layer in layers[-3:]] == ["--from=plugins", "--from=project", "--chmod=755"]
    shared = [rest for word, rest in _stage("common") if word in ("RUN", "COPY")]
    assert layers[: len(shared)] == shared
    assert not any("mg_tui" in layer for layer in layers)


@pytest.mark.parametrize(("target", "home"), [("runtime", "/data"), ("cloud", "/workspace/garden")])
def test_kernels_models_and_runs_are_kept_on_the_volume(target: str, home: str) -> None:
    text = " ".join(rest for word, rest in _stage(target) if word == "ENV")
    places = dict(re.findall(r"([A-Z_]+)=(/\S+)", text))
    for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH", "HF_HOME", "MODEL_GARDEN_CACHE"):
        assert places[name].startswith(f"{home}/"), name
    assert places["MODEL_GARDEN_HOME"] == home


def test_the_cloud_image_has_no_host_keys_and_opens_one_port() -> None:
    instructions = _stage("cloud")
    assert [rest for word, rest in instructions if word == "EXPOSE"] == ["22"]
    (install,) = [rest for word, rest in instructions if word == "RUN" and "openssh-server" in rest]
    assert "rm -rf" in install and "/etc/ssh/ssh_host_*" in install.partition("rm -rf")[2]


def test_parts_of_a_list_are_the_whole_list() -> None:
    """The Dockerfile's awk script sorts every package into one of three layers, the last in two parts."""
    (script,) = re.findall(r"awk '(.+?)' /tmp", next(rest for word, rest in _instructions() if "awk" in rest))
    for name in LISTS[:-1]:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["awk", script.replace("/lists/", f"{folder}/"), DOCKER / name], check=True)
            parts = {path.stem: path.read_text() for path in Path(folder).iterdir()}
        listed = [entry for part in parts.values() for entry in export.list_requirements(part)]
        assert sorted(listed) == sorted(export.list_requirements((DOCKER / name).read_text()))
        assert all(export.OF_TORCH.match(entry) for entry in export.list_requirements(parts["torch"]))
        assert {"torch", "torchvision", "triton"} == set(export.list_versions(parts["torch"]))
        assert not any(entry.startswith(("torch", "transformers")) for entry in parts["cuda"].splitlines())
        assert set(export.list_versions(parts["source"])) == {"docopt"}, "what is built from source is named"


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


def _pins(variant: str) -> dict[str, set[str]]:
    project = _project()
    lists = [project["tool"]["uv"]["constraint-dependencies"]]  # type: ignore[index]
    if variant == "cu13-unsloth":
        lists.append(project["project"]["optional-dependencies"]["unsloth"])  # type: ignore[index]
    else:
        lists.append(project["dependency-groups"]["current" if variant == "cu13" else variant])
    return {name: versions for one in lists for name, versions in export.list_versions("\n".join(one)).items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_list_has_the_versions_of_pyproject(variant: str) -> None:
    pinned = _pins(variant)
    listed = export.list_versions((DOCKER / f"requirements-{variant}.txt").read_text())
    differing = {name for name, versions in listed.items() if name in pinned and versions != pinned[name]}
    assert differing == set(), "run `uv run python docker/export_requirements.py`"
    unpinned = {name for name in listed if name not in pinned and not export.OF_TORCH.match(name)}
    # What unsloth needs in other versions than the other lists, so that no constraint fits both.
    allowed = (
        {"transformers", "huggingface-hub", "fsspec", "s3fs", "dill", "multiprocess"} if "unsloth" in variant else set()
    )
    assert unpinned <= allowed


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_list_has_every_dependency(variant: str) -> None:
    listed = export.list_versions((DOCKER / f"requirements-{variant}.txt").read_text())
    files = (ROOT / "plugins").glob("*/pyproject.toml")
    ours = {tomllib.loads(file.read_text())["project"]["name"] for file in files}
    for dependency in _project()["project"]["dependencies"]:  # type: ignore[attr-defined]
        name = re.split(r"[^A-Za-z0-9._-]", dependency)[0].lower()
        assert name in listed or name in ours, "run `uv run python docker/export_requirements.py`"


def test_the_list_for_cuda_12_has_no_library_of_cuda_13() -> None:
    names = {
        variant: set(export.list_versions((DOCKER / f"requirements-{variant}.txt").read_text())) for variant in VARIANTS
    }
    assert any(name.endswith("-cu12") for name in names["cu12"])
    assert not any(name.endswith("-cu13") for name in names["cu12"])
    assert not any(name.endswith("-cu12") for name in names["cu13"] | names["cu13-unsloth"])


def _wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    tag = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{tag}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{tag}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            + (f"Requires-Dist: {requires}\n" if requires else ""),
        )
        wheel.writestr(f"{tag}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{tag}.dist-info/RECORD", "")


def test_torch_of_another_index_replaces_that_of_the_list_and_leaves_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, version, requires in (
        ("torch", "2.15.0+cu126", "nvidia-cublas-cu12==12.6.4"),
        ("torchvision", "0.29.2+cu126", "torch==2.15.0"),
        ("nvidia-cublas-cu12", "12.6.4", ""),
        ("pluggy", "1.7.0", ""),
    ):
        folder = tmp_path / "index" / name
        folder.mkdir(parents=True)
        _wheel(folder, name, version, requires)
        (wheel,) = folder.iterdir()
        (folder / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    monkeypatch.setenv("UV_OFFLINE", "1")
    before = (
        "torch==2.15.0 --hash=sha256:00\ntorchvision==0.29.2 --hash=sha256:00\nnvidia-cublas==13.4 --hash=sha256:00\n"
    )
    after = export.replace_torch(before + "pluggy==1.7.0 --hash=sha256:00\n", f"file://{tmp_path}/index")
    assert export.list_versions(after) == {
        "torch": {"2.15.0+cu126"},
        "torchvision": {"0.29.2+cu126"},
        "nvidia-cublas-cu12": {"12.6.4"},
        "pluggy": {"1.7.0"},
    }
    assert export.find_problems(after) == []


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
                path = source.replace("${REQUIREMENTS}", "docker/requirements-cu12.txt")
                assert any(Path(path).match(pattern) for pattern in allowed), path
                assert (ROOT / path).exists()


def test_a_wheel_beside_the_plugins_is_installed_as_it_is(tmp_path: Path) -> None:
    """The step of the Dockerfile with a stand-in of uv: packages are built, wheels are copied, all are installed."""
    (step,) = [rest for word, rest in _instructions() if word == "RUN" and "/src/*" in rest]
    source, dist, uv = tmp_path / "src", tmp_path / "dist", tmp_path / "uv"
    (source / "gemma3").mkdir(parents=True)
    (source / "mine-1.0-py3-none-any.whl").write_text("wheel")
    said = tmp_path / "said"
    uv.write_text(
        f'#!/bin/sh\necho "$*" >> {said}\ncase "$1" in build) touch {dist}/built-1.0-py3-none-any.whl ;; esac\n'
    )
    uv.chmod(0o755)
    script = step.replace("/opt/tools/bin/uv", str(uv)).replace("/src/", f"{source}/").replace("/dist", str(dist))
    subprocess.run(["sh", "-c", script], check=True)
    build, install = said.read_text().splitlines()
    assert build.startswith("build --wheel") and build.endswith(f"{source}/gemma3")
    assert install.startswith("pip install") and "--no-deps" in install
    assert [word.rpartition("/")[2] for word in install.split() if word.endswith(".whl")] == [
        "built-1.0-py3-none-any.whl",
        "mine-1.0-py3-none-any.whl",
    ]
    assert "plugins" in [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines()]

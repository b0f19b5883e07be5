"""Templates for rented and own machines, and the workflows that build what they name."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docker.test_dockerfile import ROOT, VARIANTS

HOSTS = ROOT / "docker" / "hosts"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def _tags(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "docker" / "tags.sh", "ghcr.io/Owner/model-garden-tui"],
        env={"PATH": os.environ["PATH"], "GITHUB_SHA": "0123456789abcdef", **environment},
        capture_output=True,
        text=True,
    )


def _outputs(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def _version() -> str:
    match = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert match is not None
    return match[1]


@pytest.mark.parametrize(
    ("environment", "tags"),
    [
        ({}, "{v}-cu13 {v}"),
        ({"CUDA": "cu12"}, "{v}-cu12"),
        ({"TARGET": "cloud"}, "{v}-cloud-cu13"),
        ({"TARGET": "cloud", "BACKEND": "unsloth"}, "{v}-cloud-cu13-unsloth"),
    ],
)
def test_a_release_names_target_and_variant(environment: dict[str, str], tags: str) -> None:
    outputs = _outputs(_tags(GITHUB_REF=f"refs/tags/v{_version()}", **environment))
    assert outputs["tags"] == tags.format(v=_version())
    assert outputs["image"] == "ghcr.io/owner/model-garden-tui"
    assert outputs["staging"].startswith("ghcr.io/owner/model-garden-tui:sha-0123456789ab-")


def test_other_commits_are_edge_and_wrong_tags_are_refused() -> None:
    assert _outputs(_tags(GITHUB_REF="refs/heads/main"))["tags"] == "edge-cu13"
    for wrong in ({"GITHUB_REF": "refs/tags/v9.9.9"}, {"TARGET": "desktop"}):
        done = _tags(**wrong)
        assert done.returncode == 2 and done.stderr.startswith("tags.sh: ")


def test_templates_name_an_image_that_is_built() -> None:
    suffixes = {f"{target}{variant}" for target in ("", "cloud-") for variant in VARIANTS}
    named = [
        name for file in HOSTS.iterdir() for name in re.findall(r"model-garden-tui:VERSION-([\w-]+)", file.read_text())
    ]
    assert len(named) >= 4 and set(named) <= suffixes


def test_the_job_resumes_and_has_what_the_start_checks_ask_for() -> None:
    (job,) = yaml.safe_load_all((HOSTS / "kubernetes-job.yaml").read_text())
    volume, filler = yaml.safe_load_all((HOSTS / "kubernetes-data.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert pod["hostname"] and environment["MODEL_GARDEN_RUNS_RESUME_INTERRUPTED"] == "true"
    assert environment["GARDEN_STOP_SECONDS"] == str(pod["terminationGracePeriodSeconds"])
    assert container["securityContext"]["readOnlyRootFilesystem"] and pod["securityContext"]["runAsNonRoot"]
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {entry["name"]: entry for entry in pod["volumes"]}
    assert volumes[mounted["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    assert volumes[mounted["/data"]]["persistentVolumeClaim"]["claimName"] == volume["metadata"]["name"]
    assert container["args"][0] == "train-vision"
    # The pod that fills the volume writes as the user that reads it.
    assert filler["spec"]["securityContext"] == pod["securityContext"]
    assert filler["spec"]["volumes"] == [volumes[mounted["/data"]]]


def test_the_arguments_of_templates_are_those_of_the_command() -> None:
    from mg_tui.cli.main import cli

    train = cli.get_command(None, "train-vision")  # type: ignore[arg-type]
    assert train is not None
    known = {option for parameter in train.params for option in parameter.opts}
    (job,) = yaml.safe_load_all((HOSTS / "kubernetes-job.yaml").read_text())
    written = [argument.split("=")[0] for argument in job["spec"]["template"]["spec"]["containers"][0]["args"][1:]]
    unit = (HOSTS / "model-garden.service").read_text()
    written += re.findall(r"(--[\w-]+)", next(line for line in unit.splitlines() if "COMMAND=" in line))
    assert len(written) >= 5 and set(written) <= known


def test_the_runpod_template_keeps_its_data_and_opens_ssh_alone() -> None:
    template = json.loads((HOSTS / "runpod-template.json").read_text())
    assert template["ports"] == ["22/tcp"] and template["volumeMountPath"] == "/workspace"
    assert "-cloud-" in template["imageName"]


def _dry(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HOSTS / script, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "DRY_RUN": "1", **environment},
        capture_output=True,
        text=True,
    )


def test_vast_gets_the_key_and_keeps_the_entry_point(tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_text("ssh-ed25519 AAAAC3Nz me@laptop\n")
    done = _dry("vast.sh", "123", str(key))
    assert done.returncode == 0 and "vastai create instance 123" in done.stdout
    assert "AAAAC3Nz" in done.stdout and done.stdout.rstrip().endswith("--args")
    assert _dry("vast.sh", "123").returncode == 2  # no key
    unnamed = _dry("vast.sh", "123", str(key), DRY_RUN="")
    assert unnamed.returncode == 2 and "IMAGE=" in unnamed.stderr  # the template's name is no image


@pytest.mark.parametrize(("driver", "variant"), [("580.65.06", "cu13"), ("550.54.14", "cu12")])
def test_the_variant_follows_the_driver(tmp_path: Path, driver: str, variant: str) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho {driver}\n")
    program.chmod(0o755)
    done = _dry("bare.sh", "demo", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 0 and f"model-garden-tui:{variant} demo" in done.stdout and "--gpus all" in done.stdout
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")  # no container, no image
    docker.chmod(0o755)
    absent = _dry("bare.sh", PATH=f"{tmp_path}:{os.environ['PATH']}", DRY_RUN="")
    assert absent.returncode == 2 and f"CUDA={variant} docker/build.sh" in absent.stderr


@pytest.mark.parametrize(
    ("running", "arguments", "command"),
    [
        ("true", [], "docker exec -it --detach-keys ctrl-] garden model-garden"),
        ("false", [], "docker start -ai --detach-keys ctrl-] garden"),
        ("false", ["demo"], None),
    ],
)
def test_the_script_for_own_machines_opens_the_container_that_is_there(
    tmp_path: Path, running: str, arguments: list[str], command: str | None
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$1" = inspect ] && echo {running}\n')
    docker.chmod(0o755)
    done = _dry("bare.sh", *arguments, PATH=f"{tmp_path}:{os.environ['PATH']}")
    if command is None:
        assert done.returncode == 2 and "there is a container garden" in done.stderr
    else:
        assert (done.returncode, done.stdout.strip().replace("\\", "")) == (0, command)


def test_runs_can_be_kept_in_a_folder() -> None:
    assert "--volume garden-data:/data" in _dry("bare.sh").stdout
    assert "--volume /lambda/nfs/mine:/data" in _dry("bare.sh", DATA="/lambda/nfs/mine").stdout


def test_every_service_of_compose_waits_as_long_as_its_grace() -> None:
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    assert {name: service["stop_grace_period"] for name, service in services.items()} == dict.fromkeys(services, "3m")
    assert {name: service["environment"].get("GARDEN_STOP_SECONDS") for name, service in services.items()} == (
        dict.fromkeys(services, 180)
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_is_valid(tmp_path: Path) -> None:
    unit = tmp_path / "model-garden.service"
    unit.write_text((HOSTS / "model-garden.service").read_text().replace("/usr/bin/docker", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", unit], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_scripts_that_exist_and_are_executable(path: Path) -> None:
    steps = [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]
    called = [
        word
        for step in steps
        for word in re.findall(r"(?<![\w./-])((?:docker|scripts)/[\w.-]+\.(?:sh|py))", step.get("run", ""))
    ]
    for script in called:
        assert (ROOT / script).exists(), script
        if script.endswith(".sh"):
            assert os.access(ROOT / script, os.X_OK), script


def test_images_are_built_for_both_targets_and_every_variant_and_gated() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "image.yml").read_text())
    matrix = workflow["jobs"]["build"]["strategy"]["matrix"]
    built = {
        (target, cuda, backend)
        for target in matrix["target"]
        for cuda in matrix["cuda"]
        for backend in matrix["backend"]
    } | {(entry["target"], entry["cuda"], entry["backend"]) for entry in matrix["include"]}
    variants = [(*variant.split("-"), "")[:2] for variant in VARIANTS]
    assert built == {(target, cuda, backend) for target in ("runtime", "cloud") for cuda, backend in variants}
    steps = workflow["jobs"]["build"]["steps"]
    build = next(step["with"] for step in steps if "build-push-action" in step.get("uses", ""))
    assert build["provenance"] == "mode=max" and build["sbom"] is True
    names = [step.get("name", step.get("uses", "")) for step in steps]
    assert names.index("Scan") < names.index("Sign, verify, and set the tags")
    sign = next(step["run"] for step in steps if step.get("name", "").startswith("Sign"))
    assert sign.index("cosign sign") < sign.index("cosign verify") < sign.index("--tag")
    assert workflow["jobs"]["build"]["permissions"]["id-token"] == "write"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_named_by_commit_with_their_version(path: Path) -> None:
    uses = re.findall(r"^ *(?:- )?uses: (.+)$", path.read_text(), re.MULTILINE)
    assert uses
    assert [text for text in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", text)] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_dockerfile_finds_the_list_of_every_variant(variant: str) -> None:
    assert (ROOT / "docker" / f"requirements-{variant}.txt").exists()

"""A garden installed from wheels alone, with a package of somebody else: listed, checked, tested, trained.

Dependencies come from uv's cache, at the versions that this environment has.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mg_tui.cli.plugin_template import write_plugin

ROOT = Path(__file__).parents[2]
ROWS = """
import json, pathlib, sys
from PIL import Image
from mg_tui.families.registry import load_registry
from mg_tui.families.tiny_checkpoints import make_tiny_checkpoint
folder = pathlib.Path(sys.argv[1])
make_tiny_checkpoint(load_registry().by_key("my_family"), folder / "model")
Image.new("RGB", (60, 50), "red").save(folder / "red.png")
row = {"text": "what color?", "image": "red.png", "response": "red"}
(folder / "rows.jsonl").write_text((json.dumps(row) + chr(10)) * 4)
"""


def run(command: Sequence[str | Path], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command away from the checkout, without this environment's variables; it has to succeed."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    values: Mapping[str, str] = {**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **more}
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=dict(values), capture_output=True, text=True, timeout=2400
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="module")
def uv() -> str:
    found = os.environ.get("UV") or shutil.which("uv")
    if found is None:
        pytest.skip("uv is not here")
    return found


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheels")


@pytest.fixture(scope="module")
def wheels(uv: str, work: Path) -> Path:
    """Of the core, of every family here, and of a package that `plugins new` has written."""
    dist = work / "dist"
    foreign = write_plugin("my_family", work / "my_family")
    for source in (ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml")), foreign):
        run([uv, "build", "--wheel", "--quiet", "--out-dir", dist, source], work)
    return dist


@pytest.fixture(scope="module")
def garden(uv: str, work: Path, wheels: Path) -> Path:
    """The programs of an empty environment into which the wheels were installed; nothing of it is editable."""
    frozen = run([uv, "pip", "freeze", "--python", sys.executable, "--exclude-editable"], work).stdout
    pins = [line for line in frozen.splitlines() if "==" in line]
    (work / "pins.txt").write_text("\n".join(pins))
    python = work / "env" / "bin" / "python"
    run([uv, "venv", "--quiet", "--python", sys.executable, work / "env"], work)
    named = [path for path in sorted(wheels.glob("*.whl")) if not path.name.startswith("model_garden_my_family")]
    install: list[str | Path] = [
        uv,
        "--no-config",
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "--constraint",
        work / "pins.txt",
    ]
    run([*install, *named, "pytest"], work)
    return python.parent


def records(garden: Path, folder: Path, *options: str, **more: str) -> dict[str, dict[str, Any]]:
    done = run([garden / "model-garden", "--home", folder / "home", "plugins", "--json", *options], folder, **more)
    return {record["name"]: record for record in json.loads(done.stdout)}


@pytest.mark.slow
@pytest.mark.timeout(6000)
def test_a_foreign_package_is_installed_from_wheels_and_trains(uv: str, garden: Path, wheels: Path, work: Path) -> None:
    before = records(garden, work)
    assert len(before) == len([*ROOT.glob("plugins/*/pyproject.toml")]) and "my_family" not in before
    assert {record["status"] for record in before.values()} == {"ok"}
    assert all(str(record["file"]).startswith(str(garden.parent)) for record in before.values())

    # Unpacked beside a garden, as on the volume of a container.
    (foreign,) = wheels.glob("model_garden_my_family*.whl")
    run([garden / "python", "-m", "zipfile", "-e", foreign, work / "unpacked"], work)
    beside = records(garden, work, PYTHONPATH=str(work / "unpacked"))
    assert beside["my_family"]["status"] == "ok" and beside["my_family"]["version"] == "0.1.0"

    # Into the garden that is there.
    run([uv, "--no-config", "pip", "install", "--quiet", "--no-deps", "--python", garden / "python", foreign], work)
    after = records(garden, work, "--check")
    assert after.keys() - before.keys() == {"my_family"}
    (family,) = after["my_family"]["families"]
    assert after["my_family"]["version"] == "0.1.0" and family["findings"] == []
    disabled = records(garden, work, MODEL_GARDEN_DISABLE_PLUGINS="my_family")
    assert disabled["my_family"]["status"] == "disabled" and disabled["my_family"]["families"] == []

    tests = run([garden / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "my_family/tests"], work)
    assert "2 passed" in tests.stdout

    run([garden / "python", "-c", ROWS, work], work)
    train: list[str | Path] = [
        garden / "model-garden",
        "--home",
        work / "home",
        "train-vision",
        "--base-model",
        work / "model",
    ]
    options: list[str | Path] = [
        "--dataset",
        work / "rows.jsonl",
        "--max-steps",
        "1",
        "--device",
        "cpu",
        "--sample-count",
        "0",
    ]
    run([*train, *options, "--output-dir", work / "result"], work)
    assert (work / "result" / "adapter_model.safetensors").is_file()
    (journal,) = (work / "home" / "runs").glob("*/events.jsonl")
    steps = [event for event in map(json.loads, journal.read_text().splitlines()) if event["kind"] == "step"]
    assert len(steps) == 1 and steps[0]["loss"] > 0

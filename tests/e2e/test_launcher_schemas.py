"""The files for SkyPilot and dstack, read by SkyPilot and dstack themselves, each in an environment of its own.

Neither is a dependency: both want versions that this program does not (click below 8.2), and a hundred packages.
"""

import json
import subprocess
from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[1] / "runs" / "launchers" / "golden"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SKYPILOT = """
import sys, yaml
from sky.utils import common_utils, schemas
for path in sys.argv[1:]:
    config = yaml.safe_load(open(path))
    common_utils.validate_schema(config, schemas.get_task_schema(), "task: ")
    common_utils.validate_schema(config["resources"], schemas.get_resources_schema(), "resources: ")
    print(path)
broken = dict(config, resources=dict(config["resources"], use_sport=True))
try:
    common_utils.validate_schema(broken["resources"], schemas.get_resources_schema(), "resources: ")
except ValueError:
    print("refused")
"""
DSTACK = """
import sys, yaml
from dstack._internal.core.models.configurations import parse_apply_configuration
for path in sys.argv[1:]:
    parse_apply_configuration(yaml.safe_load(open(path)))
    print(path)
try:
    parse_apply_configuration(dict(yaml.safe_load(open(path)), spot_polizy="auto"))
except Exception:
    print("refused")
"""


@pytest.mark.parametrize(
    ("package", "ending", "script"),
    [("skypilot==0.14.1", "sky.yaml", SKYPILOT), ("dstack==0.22.5", "dstack.yaml", DSTACK)],
    ids=["skypilot", "dstack"],
)
def test_files_are_accepted(package: str, ending: str, script: str, tmp_path: Path) -> None:
    files = sorted(str(path) for path in GOLDEN.glob(f"*.{ending}"))
    assert len(files) == 3
    command = ["uv", "run", "--no-project", "--isolated", "--with", package, "python", "-c", script, *files]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, json.dumps(done.stderr[-3000:])
    assert done.stdout.split() == [*files, "refused"]

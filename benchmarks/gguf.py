"""Exact match of the demo's held-out rows: the result, merged, as GGUF, behind servers; and its table in the docs.

    uv run python benchmarks/gguf.py                    # trains, exports, and writes docs/exporting.md
    uv run python benchmarks/gguf.py --rows 16 --dry    # fewer rows, and printed only
    uv run python benchmarks/gguf.py --model large      # 134.7M parameters, all trained, instead of the tiny one

The base model is the bundled tiny one with windows of 112 pixels in its vision tower, as the published models and
llama.cpp have; its own are of 56. llama.cpp is that of `model-garden export --setup gguf`, or LLAMA_CPP_DIR. vLLM is
asked if its command is on the PATH.
"""

import argparse
import datetime
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.model import make_model

from mg_tui.data.synthetic.demo import DEMO_HYPERPARAMETERS, make_demo_dataset
from mg_tui.families.registry import load_registry
from mg_tui.runs.llama_cpp import VERSION

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs" / "exporting.md"
MARKS = {"tiny": "measured", "large": "measured large"}
QUANTIZATIONS = ("F16", "Q8_0", "Q4_K_M")
_MAX_PIXELS = 12544


# All of a random model is trained: in few epochs, at what is usual for training from the beginning.
LARGE = {"epochs": 2, "batch_size": 16, "learning_rate": 5e-4, "warmup_ratio": 0.05} | dict.fromkeys(
    ("train_language", "train_projector", "train_vision"), "full"
)


def make_base(folder: Path, model: str) -> Path:
    """The bundled model with the windows that llama.cpp has, or the large one."""
    if model == "large":
        make_model(folder)
    elif not folder.is_dir():
        shutil.copytree(load_registry().resolve("tiny").source, folder)
        config = json.loads((folder / "config.json").read_text())
        config["vision_config"]["window_size"] = 112
        (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder


def run_garden(home: Path, *words: object) -> str:
    """Run a command of the program; what it says is shown."""
    command = [sys.executable, "-c", "from mg_tui.cli.main import main; main()", "--home", str(home), *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=home).stdout


def train(home: Path, base: Path, data: Path, settings: Mapping[str, Any]) -> Path:
    """Fine-tune; a result that is there is used."""
    result = home / "result"
    if not result.is_dir():
        values = {
            **settings,
            "base_model": base,
            "dataset": data,
            "max_pixels": _MAX_PIXELS,
            "gradient_accumulation_steps": 1,
            "save_steps": 1000,
            "output_dir": result,
        }
        words = [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", value)]
        run_garden(home, "train-vision", *words, "--no-gradient-checkpointing")
    return result


def export(home: Path, result: Path, held_out: Path, rows: int, *options: str) -> dict[str, Any]:
    """Export without refusing: the figures are what is wanted."""
    output = home / f"export-{options[1]}"
    shutil.rmtree(output, ignore_errors=True)
    asked = ["--dataset", held_out, "--rows", rows, "--max-new-tokens", 48, "--min-agreement", 0.01]
    record: dict[str, Any] = json.loads(
        run_garden(home, "export", result, *options, "--output", output, *asked, "--json")
    )
    return record


def ask_served(home: Path, result: Path, served: Path, engine: str, held_out: Path, rows: int) -> dict[str, Any]:
    """Serve a model and compare its answers with those of the result."""
    command = [sys.executable, "-c", "from mg_tui.cli.main import main; main()", "--home", str(home)]
    options = (
        "--engine",
        engine,
        "--port",
        "0",
        "--proof-rows",
        "0",
        "--dtype",
        "float32" if engine == "vllm" else "auto",
    )
    with subprocess.Popen(
        [*command, "serve", str(served), *options], stdout=subprocess.PIPE, text=True, cwd=home
    ) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            asked = ("--dataset", held_out, "--rows", rows, "--max-new-tokens", 48, "--min-agreement", 0.01)
            found: dict[str, Any] = json.loads(run_garden(home, "verify", result, "--against", url, *asked, "--json"))
        finally:
            server.send_signal(signal.SIGINT)
    return found


def table_lines(merged: dict[str, Any], gguf: dict[str, Any], servers: Mapping[str, dict[str, Any]]) -> list[str]:
    """The table, the model itself first."""
    first = merged["agreement"]
    lines = ["| | exact match | answers as the model's |", "|---|--:|--:|"]
    lines.append(f"| the result, transformers | {first['model_exact_match']:.1%} | |")
    cells = [("merged, transformers", first)]
    cells += [(f"GGUF {each['quantization']}, llama.cpp", each) for each in gguf["variants"]]
    cells += list(servers.items())
    lines += [f"| {name} | {each['other_exact_match']:.1%} | {each['agreement']:.1%} |" for name, each in cells]
    fallbacks = [f"{each['fallback_tensors']} in {each['quantization']}" for each in gguf["variants"]]
    lines += ["", f"{first['rows']} rows. Tensors of another type, as theirs does not fit this small model: "
              f"{', '.join(fallbacks)}."]  # fmt: skip
    return lines


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("~/.cache/model-garden-benchmarks/gguf").expanduser())
    parser.add_argument("--model", choices=MARKS, default="tiny", help="large: of 134.7M parameters, trained whole")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--dry", action="store_true", help="print only")
    args = parser.parse_args()
    home = args.work / args.model
    home.mkdir(parents=True, exist_ok=True)
    data = make_demo_dataset(args.work / "data", seed=0)
    settings = dict(DEMO_HYPERPARAMETERS if args.model == "tiny" else LARGE)
    settings["epochs"] = args.epochs or settings["epochs"]
    result = train(home, make_base(home / "base", args.model), data.train, settings)
    merged = export(home, result, data.held_out, args.rows, "--format", "merged")
    chosen = [word for kind in QUANTIZATIONS for word in ("--quantization", kind)]
    gguf = export(home, result, data.held_out, args.rows, "--format", "gguf", *chosen)
    (whole,) = (path for path in (home / "export-gguf").glob("*F16.gguf") if "mmproj" not in path.name)
    asked = {"serve, built-in engine": (result, "builtin"), "serve, llama-server with the F16 file": (whole, "llama")}
    if shutil.which("vllm"):
        asked["serve, vLLM with the merged model"] = (home / "export-merged", "vllm")
    servers = {name: ask_served(home, result, *which, data.held_out, args.rows) for name, which in asked.items()}
    used = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    epochs = settings["epochs"]
    head = (
        f"Measured on {datetime.date.today():%Y-%m-%d} with {epochs:g} epoch{'s' * (epochs != 1)}, {args.rows} rows, "
        f"with {used}, llama.cpp of llama-cpp-python {VERSION}."
    )
    begin, end = (f"<!-- {MARKS[args.model]}: {side} -->" for side in ("begin", "end"))
    lines = [begin, head, "", *table_lines(merged, gguf, servers), end]
    print("\n".join(lines))
    if not args.dry:
        text = DOCS.read_text(encoding="utf-8")
        before, after = text.split(begin)[0], text.split(end)[1]
        DOCS.write_text(before + "\n".join(lines) + after, encoding="utf-8")


if __name__ == "__main__":
    main()

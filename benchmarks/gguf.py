"""Exact match of the demo's held-out rows: the fine-tuned model, merged, and as GGUF files; and its table in the docs.

    uv run python benchmarks/gguf.py                    # trains, exports, and writes docs/exporting.md
    uv run python benchmarks/gguf.py --rows 16 --dry    # fewer rows, and printed only

The base model is the bundled tiny one with windows of 112 pixels in its vision tower, as the published models and
llama.cpp have; its own are of 56. llama.cpp is that of `model-garden export --setup gguf`, or LLAMA_CPP_DIR.
"""

import argparse
import datetime
import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mg_tui.data.synthetic.demo import DEMO_HYPERPARAMETERS, make_demo_dataset
from mg_tui.families.registry import load_registry
from mg_tui.runs.llama_cpp import VERSION

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs" / "exporting.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
QUANTIZATIONS = ("F16", "Q8_0", "Q4_K_M")
_MAX_PIXELS = 12544


def make_base(folder: Path) -> Path:
    """The bundled model with the windows that llama.cpp has."""
    if not folder.is_dir():
        shutil.copytree(load_registry().resolve("tiny").source, folder)
        config = json.loads((folder / "config.json").read_text())
        config["vision_config"]["window_size"] = 112
        (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder


def run_garden(home: Path, *words: object) -> str:
    """Run a command of the program; what it says is shown."""
    command = [sys.executable, "-c", "from mg_tui.cli.main import main; main()", "--home", str(home), *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=home).stdout


def train(home: Path, base: Path, data: Path, epochs: float) -> Path:
    """Fine-tune by the demo's settings; a result that is there is used."""
    result = home / "result"
    if not result.is_dir():
        values = {
            **DEMO_HYPERPARAMETERS,
            "epochs": epochs,
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


def table_lines(merged: dict[str, Any], gguf: dict[str, Any]) -> list[str]:
    """The table, the model itself first."""
    first = merged["agreement"]
    lines = ["| | exact match | answers as the model's |", "|---|--:|--:|"]
    lines.append(f"| adapter on its base model, transformers | {first['model_exact_match']:.1%} | |")
    cells = [("merged, transformers", first)]
    cells += [(f"GGUF {each['quantization']}, llama.cpp", each) for each in gguf["variants"]]
    lines += [f"| {name} | {each['other_exact_match']:.1%} | {each['agreement']:.1%} |" for name, each in cells]
    fallbacks = [f"{each['fallback_tensors']} in {each['quantization']}" for each in gguf["variants"]]
    lines += ["", f"{first['rows']} rows. Tensors of another type, as theirs does not fit this small model: "
              f"{', '.join(fallbacks)}."]  # fmt: skip
    return lines


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("~/.cache/model-garden-benchmarks/gguf").expanduser())
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--epochs", type=float, default=DEMO_HYPERPARAMETERS["epochs"])
    parser.add_argument("--dry", action="store_true", help="print only")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    data = make_demo_dataset(args.work / "data", seed=0)
    result = train(args.work, make_base(args.work / "tiny-112"), data.train, args.epochs)
    merged = export(args.work, result, data.held_out, args.rows, "--format", "merged")
    chosen = [word for kind in QUANTIZATIONS for word in ("--quantization", kind)]
    gguf = export(args.work, result, data.held_out, args.rows, "--format", "gguf", *chosen)
    used = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    head = f"Measured on {datetime.date.today():%Y-%m-%d} with {used}, llama.cpp of llama-cpp-python {VERSION}."
    lines = [BEGIN, head, "", *table_lines(merged, gguf), END]
    print("\n".join(lines))
    if not args.dry:
        text = DOCS.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        DOCS.write_text(before + "\n".join(lines) + after, encoding="utf-8")


if __name__ == "__main__":
    main()

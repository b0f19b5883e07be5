"""The memory estimate against the counted peak of a step's tensors, for the real 3B and 7B models; no GPU, no weights.

    uv run python benchmarks/memory.py               # the grid, and its tables in docs/memory.md
    uv run python benchmarks/memory.py --layers 2    # two blocks in each stack: quick, and printed only

How it counts is in `harness/live_bytes.py`.
"""

import argparse
import datetime
import platform
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.live_bytes import ROOT, StepCase, estimate_peak, measure_peak

DOCS = ROOT / "docs" / "memory.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
GIB = 2**30

# Sides of a square image in patches of 14 pixels: 448 x 448 pixels, and 1008 x 1008.
SMALL, LARGE = (32, 32), (72, 72)
SUPERVISED = 128


def list_cases(layers: int | None) -> list[StepCase]:
    """Models x checkpointing x length, with the largest image that leaves room for text."""
    cases = []
    for model in ("3B", "7B"):
        for checkpointing in (True, False):
            for length, image in ((512, SMALL), (2048, SMALL), (2048, LARGE), (4096, LARGE)):
                options = {"quantization": "none", "gradient_checkpointing": checkpointing}
                cases.append(StepCase(model, 1, length, SUPERVISED, (image,), layers=layers, options=options))
    return cases


def list_variations(layers: int | None) -> list[tuple[str, StepCase]]:
    """One change each from a 7B with LoRA in bfloat16, 2,048 packed tokens and an image of 1008 x 1008 pixels."""
    base = StepCase("7B", 1, 2048, SUPERVISED, (LARGE,), layers=layers, options={"quantization": "none"})

    def with_(**options: Any) -> StepCase:
        return replace(base, options={**base.options, **options})

    return [
        ("4-bit (the default)", with_(quantization="nf4")),
        ("4-bit, no checkpointing", with_(quantization="nf4", gradient_checkpointing=False)),
        ("1,024 positions learned", replace(base, learned=1024)),
        ("no mask (one example, padded layout)", replace(base, masked=False)),
        ("padded, 4 rows of 512, 4 images of 448 x 448", replace(base, rows=4, length=512, grids=(SMALL,) * 4)),
        ("dropout 0.1", with_(lora_dropout=0.1)),
        ("DoRA", with_(use_dora=True)),
        ("vision tower with LoRA", with_(train_vision="lora")),
        ("vision tower with LoRA, no checkpointing", with_(train_vision="lora", gradient_checkpointing=False)),
        ("projector in full", with_(train_projector="full")),
        ("language model in full", with_(train_language="full")),
    ]


def measure_row(name: str, case: StepCase) -> tuple[list[str], float, float]:
    """Cells of a table, and how far the estimate is off, of all bytes and of those above the loaded model."""
    messages, result = estimate_peak(case), measure_peak(case)
    total, moving = messages.total / result.total - 1, messages.moving / result.moving - 1
    cells = [
        name,
        f"{result.total / GIB:.2f}",
        f"{messages.total / GIB:.2f}",
        f"{total:+.1%}",
        f"{result.moving / GIB:.2f}",
        f"{messages.moving / GIB:.2f}",
        f"{moving:+.1%}",
    ]
    print("  ".join(cells), flush=True)
    return cells, total, moving


HEADINGS = ["", "peak", "estimate", "off by", "of which a step's", "estimate", "off by"]


def format_table(rows: Iterable[list[str]]) -> list[str]:
    """Rows as a Markdown table."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|" + "---:|" * (len(HEADINGS) - 1)]
    return lines + ["| " + " | ".join(cells) + " |" for cells in rows]


def case_name(case: StepCase) -> str:
    """A case of the grid in words."""
    side = case.grids[0][0] * 14
    saved = "checkpointing" if case.options["gradient_checkpointing"] else "no checkpointing"
    return f"{case.model}, {saved}, {case.length:,} tokens, {side} x {side} pixels"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, help="blocks of each stack; all when left out")
    layers = parser.parse_args().layers
    first = [measure_row(case_name(case), case) for case in list_cases(layers)]
    second = [measure_row(name, case) for name, case in list_variations(layers)]
    worst = [max(abs(item[part]) for item in (*first, *second)) for part in (1, 2)]
    used = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "bitsandbytes"))
    print(f"largest difference: {worst[0]:.1%} of the peak, {worst[1]:.1%} of what a step adds")
    if layers is not None:
        return
    lines = [
        BEGIN,
        f"Counted on {datetime.date.today():%Y-%m-%d} with {used}, Python {platform.python_version()}; GiB.",
        f"Largest difference: {worst[0]:.1%} of the peak, {worst[1]:.1%} of what a step adds to the loaded model.",
        "",
        f"LoRA of rank 16 on the language model in bfloat16, one packed sequence, {SUPERVISED} positions learned:",
        "",
        *format_table(cells for cells, _total, _moving in first),
        "",
        "7B with 2,048 packed tokens and an image of 1008 x 1008 pixels, with checkpointing, one thing changed:",
        "",
        *format_table(cells for cells, _total, _moving in second),
        END,
    ]
    write_page(DOCS, "\n".join(lines))


def write_page(file: Path, measured_part: str) -> None:
    """Put the tables into a page, between its marks."""
    text = file.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    file.write_text(before + measured_part + after, encoding="utf-8")


if __name__ == "__main__":
    main()

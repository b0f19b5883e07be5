"""One run on several numbers of processes: how far losses and final weights are apart. Real commands, on the CPU.

    uv run python scripts/compare_ranks.py --ranks 1,2,4 --parallel ddp,fsdp

The effective batch is the same for all. Rows have images, none, and unequal lengths; dropout is 0. Prints a table;
exits with 1 when a difference is more than float error explains.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

COMMAND = (sys.executable, "-c", "from mg_tui.cli.main import main; main()")
EXAMPLES_PER_STEP = 8
LOSS_TOLERANCE = 1e-4  # relative, of any step
Outcome = tuple[list[float], dict[str, Any]]
WEIGHTS_TOLERANCE = 1e-3  # of the norm of all changes of weights; Adam's division amplifies float error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--parallel", default="ddp", help="ddp,fsdp")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("options", nargs="*", help="further options of the runs, after --")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        write_dataset(base / "data")
        one = run(base, 1, "auto", given.steps, given.options)
        print("largest relative difference to one process:")
        print(f"{'processes':<10} {'parallel':<9} {'loss':>10} {'weights':>10}")
        worst = True
        for parallel in given.parallel.split(","):
            for ranks in map(int, given.ranks.split(",")):
                if ranks == 1:
                    continue
                loss, weights = differences(one, run(base, ranks, parallel, given.steps, given.options))
                fine = loss < LOSS_TOLERANCE and weights < WEIGHTS_TOLERANCE
                worst = worst and fine
                note = "" if fine else "too much"
                print(f"{ranks:<10} {parallel:<9} {loss:>10.1e} {weights:>10.1e}   {note}", flush=True)
    return 0 if worst else 1


def write_dataset(folder: Path) -> None:
    """Rows with an image that others share, with one of their own, and with text of several lengths."""
    folder.mkdir()
    rows = []
    for number in range(5):
        size = (84 + 28 * (number % 2), 84)
        image = Image.effect_mandelbrot(size, (-2 + number / 7, -1, 1, 1), 20).convert("RGB")
        image.save(folder / f"{number}.png")
        words = ("red", "round", "large") if number else ("red",)
        rows += [row(f"what is {word}?", f"{word} is {number}", f"{number}.png") for word in words]
    rows += [row(f"say {number} words " * (1 + number), f"{number} " * (2 + 2 * number), None) for number in range(9)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rows))


def row(question: str, answer: str, image: str | None) -> dict[str, Any]:
    parts: list[dict[str, str]] = [{"type": "image", "image": image}] if image else []
    question_parts = [*parts, {"type": "text", "text": question}]
    answer_parts = [{"type": "text", "text": answer}]
    return {"messages": [{"role": "user", "content": question_parts}, {"role": "assistant", "content": answer_parts}]}


def run(base: Path, ranks: int, parallel: str, steps: int, options: list[str]) -> Outcome:
    """Losses by step, and the final weights."""
    home = base / f"{parallel}-{ranks}"
    command = [
        *(*COMMAND, "train-vision", "--base-model", "tiny"),
        *("--dataset", str(base / "data" / "rows.jsonl"), "--device", "cpu", "--max-steps", str(steps)),
        *("--batch-size", "1", "--gradient-accumulation-steps", str(EXAMPLES_PER_STEP // ranks)),
        *("--learning-rate", "1e-3", "--warmup-ratio", "0", "--lora-r", "4", "--lora-dropout", "0"),
        *("--sample-count", "0", "--save-steps", "1000", "--processes", str(ranks), "--parallel", parallel, *options),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "MODEL_GARDEN_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if not (home / "runs").is_dir():
        sys.exit(done.stderr)
    (folder,) = (home / "runs").iterdir()
    if done.returncode:
        sys.exit(f"{done.stderr}\n{(folder / 'worker.log').read_text()[-3000:]}")
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if event["kind"] == "step"]
    return losses, load_file(folder / "model" / "adapter_model.safetensors")


def differences(one: Outcome, other: Outcome) -> tuple[float, float]:
    """The largest relative difference of a step's loss; that of all weights, of their norm."""
    loss = max(abs(a - b) / abs(a) for a, b in zip(one[0], other[0], strict=True))
    assert one[1].keys() == other[1].keys()
    size = torch.stack([value.float().norm() for value in one[1].values()]).norm()
    off = torch.stack([(value.float() - other[1][name].float()).norm() for name, value in one[1].items()]).norm()
    return loss, float(off / size)


if __name__ == "__main__":
    sys.exit(main())

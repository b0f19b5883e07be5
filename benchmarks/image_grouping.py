"""What keeping an image's examples in one step does to learning: held-out exact match, grouped and shuffled.

`uv run python benchmarks/image_grouping.py` trains the tiny model on the demo's task and on questions about drawn
images, with `--share-images` and without, three seeds each, and evaluates it on held-out images meanwhile. It prints a
table and writes the plot; seconds are those of training alone. `--jobs 2` does two trainings at a time, one thread
each.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from harness.packed_step import packed_step
from harness.synthetic_data import KINDS, make_rows

TASKS = {"demo": "the demo's task", "vqa": "5 questions per drawn image"}
EPOCHS = {"demo": 6, "vqa": 12}
BATCH_SIZE = 16
EVALUATIONS = 6  # in a training, evenly
TOKEN_BUDGET = 4096  # of a forward pass
HELD_OUT_QUESTIONS = 120  # held-out questions of an evaluation, the same for all


def make_task_rows(task: str, folder: Path) -> tuple[Path, Path]:
    """Rows to learn and held-out rows of a task, on other images."""
    if task == "demo":
        from mg_tui.data.synthetic.demo import make_demo_dataset

        created = make_demo_dataset(folder / "demo")
        return created.train, created.held_out
    return make_rows(folder / "vqa", KINDS["vqa"], 60), make_rows(folder / "vqa-held-out", KINDS["vqa"], 20, seed=1)


def run_training(task: str, shared: bool, seed: int, files: tuple[Path, Path]) -> dict[str, Any]:
    """One training on the first of `files`, examined on the second.

    Returns:
        What it was, with `curve`: (examples seen, seconds of training, exact match of 1) of each evaluation.
    """
    import torch
    from transformers import set_seed

    from mg_tui.core.spec import TrainingSpec
    from mg_tui.data.synthetic.demo import DEMO_HYPERPARAMETERS
    from mg_tui.engine.batching import rows as dataset_rows
    from mg_tui.engine.run import setup, step_planning

    torch.set_num_threads(1)  # for a model this small, threads cost more than they bring
    train, held_out = files
    inputs = {
        **DEMO_HYPERPARAMETERS,
        "epochs": EPOCHS[task],
        "batch_size": BATCH_SIZE,
        "seed": seed,
        "max_pixels": 12_544,
    }
    spec = TrainingSpec.parse(
        {
            **inputs,
            "base_model": "tiny",
            "dataset": str(train),
            "share_images": shared,
            "gradient_accumulation_steps": 1,
            "gradient_checkpointing": False,
            "device": "cpu",
        }
    )
    base = setup.load_run_context(spec)

    def read(file: Path) -> Sequence[Any]:
        return dataset_rows.read_dataset(spec, str(file), cwd=file.parent, cache=file.parent / "none").examples

    examples, options = read(train), list(read(held_out))
    options = random.Random(0).sample(options, min(HELD_OUT_QUESTIONS, len(options)))
    set_seed(seed)
    model, _decisions = setup.load_model(spec, base)
    plan = step_planning.plan_steps(spec, examples, spec.examples_per_step)
    total = plan.total_steps(spec.epochs, None)
    curve, seconds, observed = [(0, 0.0, exact_match(model, base, options))], 0.0, 0
    exams = {round(total * number / EVALUATIONS) for number in range(1, EVALUATIONS + 1)}
    steps = run_steps(model, base, spec, [[examples[index] for index in plan.step(n)] for n in range(total)])
    for number in range(1, total + 1):
        began = time.perf_counter()
        observed += next(steps)
        seconds += time.perf_counter() - began
        if number in exams:
            curve.append((observed, seconds, exact_match(model, base, options)))
    return {"task": task, "shared": shared, "seed": seed, "curve": curve}


def run_steps(model: Any, base: Any, spec: Any, steps: Sequence[Sequence[Any]]) -> Iterator[int]:
    """Do a step at each `next`, as a run does; gives how many examples it had."""
    import torch
    from transformers import get_scheduler

    step = packed_step(model, base, TOKEN_BUDGET)
    supervised = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(supervised, lr=spec.learning_rate)
    schedule = get_scheduler("linear", optimizer, round(spec.warmup_ratio * len(steps)), len(steps))
    for some in steps:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        step(some)
        torch.nn.utils.clip_grad_norm_(supervised, 1.0)
        optimizer.step()
        schedule.step()
        yield len(some)


def exact_match(model: Any, base: Any, options: Sequence[Any], at_once: int = 40) -> float:
    """The share of questions whose greedy answer is the expected one."""
    from mg_tui.cli.demo_evaluation import MAX_ANSWER_TOKENS, METRIC
    from mg_tui.engine.inference.evaluate import generate_answers
    from mg_tui.metrics import Prediction
    from mg_tui.metrics.registry import load_metrics
    from mg_tui.metrics.scoring import score

    (metric,) = load_metrics().named([METRIC])
    model.eval()
    answered: list[Prediction] = []
    for start in range(0, len(options), at_once):
        some = options[start : start + at_once]
        texts = generate_answers(model, base.encoder, some, max_new_tokens=MAX_ANSWER_TOKENS)
        answered += [
            Prediction(start + number, text, (example.response,))
            for number, (text, example) in enumerate(zip(texts, some, strict=True), start=1)
        ]
    return float(score(answered, metric).aggregate)


def format_table(result: Sequence[dict[str, Any]]) -> str:
    """Means over seeds at each evaluation, as Markdown; the range of the seeds in brackets."""
    lines = ["| task | examples seen | grouped | shuffled | seconds, grouped | shuffled |", "|---|--:|--:|--:|--:|--:|"]
    for task, title in TASKS.items():
        sides = [
            [item["curve"] for item in result if item["task"] == task and item["shared"] == side]
            for side in (True, False)
        ]
        if not all(sides):
            continue
        for evaluate in range(len(sides[0][0])):
            scores = [[100 * curve[evaluate][2] for curve in side] for side in sides]
            texts = [f"{statistics.mean(item):.0f} % ({min(item):.0f} to {max(item):.0f})" for item in scores]
            times = [f"{statistics.mean(curve[evaluate][1] for curve in side):.1f}" for side in sides]
            lines.append("| " + " | ".join([title, f"{sides[0][0][evaluate][0]:,}", *texts, *times]) + " |")
    return "\n".join(lines)


def format_plot(result: Sequence[dict[str, Any]]) -> str:
    """Every curve as an SVG: a row a task, against examples seen and against seconds; grouped dark, shuffled pale."""
    width, height, edge = 360, 220, 36
    across = width - 2 * edge
    parts = [f'<rect width="{2 * width}" height="{2 * height + 24}" fill="#fff"/>']
    text = 'font-family="sans-serif" font-size="11" fill="#333"'
    parts.append(
        f'<text x="{edge}" y="16" {text}>held-out exact match: grouped (dark, solid), shuffled (orange, dashed)</text>'
    )
    for row, (task, title) in enumerate(TASKS.items()):
        some = [item for item in result if item["task"] == task]
        for column, (axis, unit) in enumerate(((0, "examples seen"), (1, "seconds of training"))):
            most = max((item["curve"][-1][axis] for item in some), default=1)
            left, top = column * width, 24 + row * height
            parts.append(
                f'<path d="M{left + edge},{top + 20} v{height - 56} h{width - 2 * edge}" fill="none" stroke="#999"/>'
            )
            below, right = top + height - 20, left + width - edge
            parts.append(f'<text x="{right}" y="{below}" text-anchor="end" {text}>{most:,.0f} {unit}</text>')
            parts.append(f'<text x="{left + edge}" y="{below}" {text}>{title}</text>')
            parts.append(f'<text x="{left + 2}" y="{top + 26}" {text}>100 %</text>')
            for item in some:
                points = " ".join(
                    f"{left + edge + across * point[axis] / most:.1f},{below - 16 - (height - 56) * point[2]:.1f}"
                    for point in item["curve"]
                )
                stroke = 'stroke="#1f4e79"' if item["shared"] else 'stroke="#e07b1a" stroke-dasharray="5 3"'
                parts.append(f'<polyline points="{points}" fill="none" stroke-width="1.5" {stroke}/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width} {2 * height + 24}">\n'
        + "\n".join(parts)
        + "\n</svg>"
    )


def main() -> None:
    """Train, print the table, and write the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", choices=sorted(TASKS), nargs="*", default=list(TASKS))
    parser.add_argument("--json", type=Path, help="keep the curves here; curves that are there are not made again")
    parser.add_argument("--svg", type=Path, default=Path(__file__).parent.parent / "docs" / "grouping.svg")
    options = parser.parse_args()
    actual: list[dict[str, Any]] = (
        json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    )
    done = {(item["task"], item["shared"], item["seed"]) for item in actual}
    expected = [
        (task, shared, seed) for seed in range(options.seeds) for task in options.only for shared in (True, False)
    ]
    with tempfile.TemporaryDirectory() as folder:
        files = {task: make_task_rows(task, Path(folder)) for task in options.only}
        with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
            left = [item for item in expected if item not in done]
            waiting = [pool.submit(run_training, *item, files[item[0]]) for item in left]
            for result in (item.result() for item in waiting):
                actual.append(result)
                observed, seconds, score = result["curve"][-1]
                method = f"{result['task']} shared={result['shared']} seed {result['seed']}"
                sys.stderr.write(f"{method}: {observed} examples, {seconds:.0f} s, {score:.0%}\n")
                if options.json:
                    options.json.write_text(json.dumps(actual))
    print(format_table(actual))
    options.svg.write_text(format_plot(actual) + "\n")
    sys.stderr.write(f"written: {options.svg}\n")


if __name__ == "__main__":
    main()

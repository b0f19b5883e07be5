"""Answering rows, side by side: batched generation with shared prefixes, and plain `generate` in batches.

    uv run python benchmarks/generate.py                       # 5 questions an image, and 1
    uv run python benchmarks/generate.py --rows 40 --tokens 16 --batches 4 16 --peers swift

The random Qwen2.5-VL of 134.7M parameters in float32 (see README.md) answers the same rows greedily in a process for
each contender; none of them ends an answer before `--tokens`. Loading the model is not timed. The first rows are a
warm-up of the kernels with images of other sizes. Plain `generate` and the peers get every batch size of `--batches`,
and their best one counts. Memory is the peak of the resident size minus that after loading.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.environments import make_environment
from harness.model import make_model
from harness.peak_memory import PeakMemory
from harness.synthetic_data import DataKind, make_questions, make_rows, read_rows
from peers import PEERS

PROGRAMS = Path(__file__).parent / "peers" / "programs"
WARM_UP_ROWS = 4
QUESTIONS = (
    DataKind("generate5", "5 questions an image", per_image=5, per_step=10, pairs=make_questions),
    DataKind("generate1", "1 question an image", per_image=1, per_step=10, pairs=make_questions),
)


def examples_of(file: Path, count: int) -> list[Any]:
    from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart

    return [
        Example(number, (Message("user", (ImagePart(ImageRef(row.image, row.image)), TextPart(row.text))),))
        for number, row in enumerate(read_rows(file)[:count], start=1)
    ]


def load(folder: Path) -> Any:
    from mg_tui.engine.inference.loading import load_located
    from mg_tui.engine.inference.locator import locate_model
    from mg_tui.families.registry import load_registry

    registry = load_registry()
    located = locate_model(str(folder), home=folder, registry=registry)
    loaded = load_located(located, registry, device="cpu", dtype="float32", quantization="none")
    loaded.model.generation_config.eos_token_id = [loaded.model.config.get_text_config().vocab_size - 1]  # no token
    return loaded


def answer_batched(loaded: Any, examples: Sequence[Any], tokens: int, _batch: int) -> list[str]:
    """Ours, with its defaults."""
    from mg_tui.engine.generation.generate import generate_rows
    from mg_tui.engine.inference.generation import Sampling

    found = {item.index: item.answer.text for item in generate_rows(loaded, examples, Sampling(max_new_tokens=tokens))}
    return [found[index] for index in range(len(examples))]


def answer_plain(loaded: Any, examples: Sequence[Any], tokens: int, batch: int) -> list[str]:
    """transformers' `generate` over batches padded on the left; rows of an image are next to each other."""
    import torch

    from mg_tui.data.images import open_image
    from mg_tui.engine.inference.generation import Sampling, generation_config, make_encoder

    encoder = make_encoder(loaded.family, loaded.processor, loaded.metadata.preprocessing)
    tokenizer = encoder.processor.tokenizer
    config = generation_config(loaded.model, tokenizer, Sampling(max_new_tokens=tokens))
    order = sorted(range(len(examples)), key=lambda index: (examples[index].images[0].path, index))
    answers: dict[int, str] = {}
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        images = [[open_image(ref.path) for ref in examples[index].images] for index in part]
        inputs = encoder.encode_prompts([examples[index].prompt for index in part], images)
        with torch.inference_mode():
            output = loaded.model.generate(**inputs, generation_config=config)
        written = output[:, inputs["input_ids"].shape[1] :].tolist()
        texts = [tokenizer.decode(row, skip_special_tokens=True) for row in written]
        answers.update(zip(part, texts, strict=True))
    return [answers[index] for index in range(len(examples))]


CONTENDERS = {"ours": answer_batched, "plain": answer_plain}


def work(options: argparse.Namespace) -> None:
    """One contender, in this process; prints its measurements."""
    loaded = load(options.model)
    answer = CONTENDERS[options.worker]
    answer(loaded, examples_of(options.warm_up, WARM_UP_ROWS), 4, options.batches[0])
    examples = examples_of(options.file, options.rows)
    with PeakMemory() as memory:
        began, cpu_began = time.perf_counter(), time.process_time()
        answers = answer(loaded, examples, options.tokens, options.batches[0])
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    print(json.dumps({"seconds": seconds, "cpu": cpu, "mib": memory.mib, "answers": answers}))


def measure(options: argparse.Namespace, who: str, file: Path, warm_up: Path, batch: int) -> dict[str, Any] | None:
    """A contender in a process of its own; None, with the reason printed, when it failed."""
    common = ["--model", options.model, "--file", file, "--warm-up", warm_up, "--rows", options.rows]
    common += ["--tokens", options.tokens, "--batches", batch]
    if who in CONTENDERS:
        command = [sys.executable, __file__, "--worker", who, *common]
    else:
        python = make_environment(PEERS[who], options.work / "envs").programs / "python"
        command = [python, PROGRAMS / f"{who}_infer.py", *common]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))
    if options.clock == "cpu":  # threads that wait for each other would count
        environment |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        print(f"{who}, batch {batch}: failed: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        return None
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    rate = options.rows / result["seconds" if options.clock == "wall" else "cpu"]
    print(
        f"{who}, batch {batch}: {result['seconds']:.1f} s, {result['cpu']:.1f} s of CPU, {result['mib']:.0f} MiB, "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return {**result, "rate": rate, "batch": batch, "who": who}


def compare(options: argparse.Namespace, kind: DataKind) -> list[str]:
    """Rows of the table for a kind of data."""
    file = make_rows(options.work / "data" / kind.key, kind, -(-options.rows // kind.per_step))
    warm_up = make_rows(options.work / "data" / "warm-up", kind, 1, seed=9)
    print(f"--- {kind.title}", flush=True)
    ours = [found for _ in range(options.repeats) if (found := measure(options, "ours", file, warm_up, 1))]
    if not ours:
        return []
    best_ours = max(ours, key=lambda item: item["rate"])
    lines = [_line(kind, best_ours, best_ours)]
    for who in ("plain", *options.peers):
        found = [item for batch in options.batches if (item := measure(options, who, file, warm_up, batch))]
        if found:
            lines.append(_line(kind, max(found, key=lambda item: item["rate"]), best_ours))
    return lines


def _line(kind: DataKind, item: dict[str, Any], ours: dict[str, Any]) -> str:
    same = sum(one == other for one, other in zip(item["answers"], ours["answers"], strict=True))
    who = item["who"] if item is ours else f"{item['who']}, batch {item['batch']}"
    ratio = "" if item is ours else f"{ours['rate'] / item['rate']:.2f}"
    memory = "" if item is ours else f"{ours['mib'] / max(item['mib'], 1):.2f}"
    return (
        f"| {kind.title} | {who} | {item['rate']:.2f} | {ratio} | {item['mib']:.0f} | {memory} "
        f"| {same}/{len(item['answers'])} |"
    )


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--repeats", type=int, default=2, help="of ours; the best counts, as of the batch sizes")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: one thread, where others use the machine"
    )
    parser.add_argument("--peers", nargs="*", default=[], choices=["swift"])
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "model-garden-benchmarks")
    for name in ("--model", "--file", "--warm-up"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    options.model = options.work / "models" / "mid-float32"
    make_model(options.model)
    lines = [line for kind in QUESTIONS for line in compare(options, kind)]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"\n{time.strftime('%Y-%m-%d')}, {versions}, {machine}, {options.clock} time\n")
    print("| data | contender | rows/s | ours is faster by | MiB above the model | ours takes | answers as ours |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

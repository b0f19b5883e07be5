"""What a dataset of many rows costs until the first step is done: seconds, CPU seconds, MiB; the first and second time.

    uv run python benchmarks/datasets_scale.py                      # 10^4 and 10^5 rows
    uv run python benchmarks/datasets_scale.py --rows 1000000       # takes minutes
    uv run python benchmarks/datasets_scale.py --peers              # `datasets` too: load and tokenize the same rows
    uv run python benchmarks/datasets_scale.py --peers swift lf     # ms-swift and LLaMA-Factory as well

2,000 images, five rows each in turn, one question and one answer of about 15 words; base model `tiny`. CPU seconds and
MiB are those of all processes of a command together: read from /proc twice a second, memory as its proportional set
size, in which pages that processes share count once.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = "a the red blue cat dog house on in near small large image shows what which color how many stands tree".split()
QUESTIONS = ("What is shown?", "How many objects are there?", "Which color is it?", "Describe the scene.")
IMAGES = 2_000
GARDEN = (sys.executable, "-c", "from mg_tui.cli.main import main; main()")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """Seconds by the clock, CPU seconds and the most MiB."""

    seconds: float
    cpu: float
    mib: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.cpu:.1f} CPU s, {self.mib:,.0f} MiB"


def write_rows(folder: Path, count: int) -> Path:
    """The dataset of `count` rows; images are written once."""
    from PIL import Image

    images = folder / "images"
    images.mkdir(exist_ok=True)
    for number in range(IMAGES):
        path = images / f"{number:04}.jpg"
        if not path.exists():
            Image.new("RGB", (64, 48), (number % 256, number // 256 * 20, 90)).save(path, "JPEG")
    rng = random.Random(1)
    path = folder / f"{count}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            question = (*QUESTIONS, f"Is there a {rng.choice(WORDS)} near the {rng.choice(WORDS)}?")[number % 5]
            answer = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(3, 25))) + f" ({number})."
            row = {"text": question, "image": f"images/{number // 5 % IMAGES:04}.jpg", "response": answer}
            file.write(json.dumps(row) + "\n")
    return path


def measure(command: list[str], environment: dict[str, str], folder: Path, done: Callable[[], bool]) -> Cost:
    """The cost of a command until `done`; waits for its end."""
    mark = f"MODEL_GARDEN_HOME={environment['MODEL_GARDEN_HOME']}".encode()
    cpu: dict[int, float] = {}
    peak = 0.0
    cost: Cost | None = None
    start = time.monotonic()
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            total = 0.0
            for pid in _processes_with(mark):
                with suppress(OSError, ValueError, IndexError):
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    cpu[pid] = (int(fields[11]) + int(fields[12])) / TICKS
                    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                        if line.startswith("Pss:"):
                            total += int(line.split()[1]) / 1024
            if cost is None:
                peak = max(peak, total)
                if done():
                    cost = Cost(time.monotonic() - start, sum(cpu.values()), peak)
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n" + (folder / "output.txt").read_text()[-2000:])
    return cost or Cost(time.monotonic() - start, sum(cpu.values()), peak)


def _processes_with(mark: bytes) -> Iterator[int]:
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                if mark in (path / "environ").read_bytes().split(b"\0"):
                    yield int(path.name)


def run_until_first_step(path: Path, work: Path) -> tuple[Cost, dict[str, float]]:
    """A run of one step; the seconds of its phases."""
    home = Path(tempfile.mkdtemp(dir=work))
    began = time.time()

    def events() -> list[dict[str, Any]]:
        files = list(home.glob("runs/*/events.jsonl"))
        text = files[0].read_text() if files else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    command = [*GARDEN, "train-vision", "--base-model", "tiny"]
    command += ["--dataset", str(path), "--max-steps", "1", "--output-dir", str(home / "out")]
    cost = measure(
        command, _environment(home, work), path.parent, lambda: any(event["kind"] == "step" for event in events())
    )
    phases: dict[str, float] = {}
    name, last = "check and start", began
    for event in events():
        if event["kind"] in ("phase", "step"):
            phases[name] = phases.get(name, 0.0) + event["t"] - last
            name, last = event.get("name", ""), event["t"]
        if event["kind"] == "step":
            cost.seconds = event["t"] - began
            break
    shutil.rmtree(home)
    return cost, phases


def check(path: Path, work: Path) -> Cost:
    """`datasets check` with token counts."""
    home = Path(tempfile.mkdtemp(dir=work))
    command = [*GARDEN, "datasets", "check", str(path), "--base-model", "tiny"]
    cost = measure(command, _environment(home, work), path.parent, lambda: False)
    shutil.rmtree(home)
    return cost


def row_of_array(path: Path, work: Path, count: int) -> tuple[Cost, float]:
    """A row near the end of a JSON array: the command that indexes the file, and a jump afterwards, in seconds."""
    from mg_tui.data.browser import open_browser
    from mg_tui.data.sources.opener import open_source

    array = path.with_suffix(".json")
    with path.open(encoding="utf-8") as lines, array.open("w", encoding="utf-8") as file:
        file.write("[" + ",\n".join(line.rstrip("\n") for line in lines) + "]")
    home, cache = Path(tempfile.mkdtemp(dir=work)), work / "cache"
    number = count - count // 1000
    command = [*GARDEN, "datasets", "show", str(array), "--row", str(number)]
    first = measure(command, _environment(home, work), path.parent, lambda: False)
    start = time.perf_counter()
    browser = open_browser(open_source(str(array), cwd=path.parent, cache=cache), cache)
    assert browser.read_row(number).values is not None
    seconds = time.perf_counter() - start
    shutil.rmtree(home)
    array.unlink()
    return first, seconds


def peer(path: Path, work: Path) -> Cost:
    """`datasets`: load the rows, render the chat template and tokenize, in two processes."""
    home = Path(tempfile.mkdtemp(dir=work))
    environment = {**_environment(home, work), "HF_DATASETS_CACHE": str(work / "hf"), "HF_HUB_OFFLINE": "1"}
    cost = measure([sys.executable, __file__, "--tokenize", str(path)], environment, path.parent, lambda: False)
    shutil.rmtree(home)
    return cost


def tokenize_with_datasets(path: str) -> None:
    """The peer's process."""
    import datasets

    from mg_tui.engine.inference.inspect_tokens import OpenRequest, open_encoder

    processor = open_encoder(OpenRequest(base_model="tiny")).processor

    def encode(rows: dict[str, list[Any]]) -> dict[str, Any]:
        texts = [
            processor.apply_chat_template(
                [
                    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]},
                    {"role": "assistant", "content": [{"type": "text", "text": response}]},
                ],
                tokenize=False,
            )
            for text, response in zip(rows["text"], rows["response"], strict=True)
        ]
        return {"input_ids": processor.tokenizer(texts)["input_ids"]}

    loaded = datasets.load_dataset("json", data_files=path, split="train")
    print(len(loaded.map(encode, batched=True, num_proc=2)))


def prepare(key: str, path: Path, work: Path, environments: Path) -> Cost:
    """A trainer's own preparation of the rows: templates and tokens, written to a cache; it starts up as it does."""
    from harness.environments import make_environment
    from peers import PEERS
    from peers.preparation import preparation

    from mg_tui.families.registry import load_registry

    model = Path(load_registry().resolve("tiny").source)
    programs = make_environment(PEERS[key], environments).programs
    home = Path(tempfile.mkdtemp(dir=work))
    command, more = preparation(key, model, path, home / key, programs)
    environment = {**_environment(home, work), "HF_DATASETS_CACHE": str(home / "hf"), "HF_HUB_OFFLINE": "1", **more}
    cost = measure(command, environment, home, lambda: False)
    shutil.rmtree(home)
    return cost


def _environment(home: Path, work: Path) -> dict[str, str]:
    return {**os.environ, "MODEL_GARDEN_HOME": str(home), "MODEL_GARDEN_CACHE": str(work / "cache")}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    peers = ("datasets", "swift", "lf")
    parser.add_argument("--peers", nargs="*", choices=peers, help="measure `datasets` too, and these trainers")
    default = Path.home() / ".cache" / "model-garden-benchmarks" / "envs"
    parser.add_argument("--environments", type=Path, default=default, help="where trainers are installed")
    parser.add_argument("--tokenize", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tokenize:
        tokenize_with_datasets(options.tokenize)
        return
    for count in options.rows:
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            path = write_rows(work, count)

            def report(what: str, figure: object, count: int = count) -> None:
                print(f"{count:>9,} rows  {what:<34} {figure}  (load {os.getloadavg()[0]:.1f})", flush=True)

            for time_name in ("first", "second"):
                cost, phases = run_until_first_step(path, work)
                report(f"to the first step, {time_name} time", cost)
                report("  of these", ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in phases.items()))
            shutil.rmtree(work / "cache")
            for time_name in ("first", "second"):
                report(f"datasets check, {time_name} time", check(path, work))
            report("to the first step, after a check", run_until_first_step(path, work)[0])
            first, seconds = row_of_array(path, work, count)
            report("row of a JSON array, not indexed", first)
            report("row of a JSON array, indexed", f"{seconds * 1000:.1f} ms")
            if options.peers is not None:
                report("datasets: load and tokenize, first", peer(path, work))
                report("datasets: load and tokenize, second", peer(path, work))
                for key in sorted({*options.peers} - {"datasets"}):
                    report(f"{key}: its own preparation", prepare(key, path, work, options.environments))


if __name__ == "__main__":
    main()

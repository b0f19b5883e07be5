"""Two processes of one thread each beside one process of two threads, and what they send: on a quiet machine.

    uv run python benchmarks/ranks.py            # a random Qwen2.5-VL of 134.7M parameters, 30 steps, three times
    uv run python benchmarks/ranks.py --short    # the tiny model, 12 steps, once: shows that it works, not how fast

Speed is supervised tokens a second over the steps after the first third. The arithmetic minimum of a sum over N
processes is 2 (N - 1) / N times the bytes of the gradients, for each of them; what was sent is read from the kernel's
counters of the processes' TCP connections (`ss`), between two steps.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.model import make_model
from harness.synthetic_data import KINDS, make_rows

COMMAND = (sys.executable, "-c", "from mg_tui.cli.main import main; main()")
BYTES_PER_GRADIENT = 4  # float32
PATIENCE = 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run: speed, seconds a step, bytes each process sent a step, and trained parameters."""

    tokens_per_second: float
    seconds: float
    sent: float
    parameters: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="The tiny model, few steps, once.")
    parser.add_argument("--repeats", type=int, help="Runs of each kind, in turn. [default: 3; short: 1]")
    parser.add_argument("--steps", type=int, help="[default: 30; short: 12]")
    parser.add_argument("--json", type=Path, help="Write the figures there too.")
    given = parser.parse_args()
    steps, repeats = given.steps or (12 if given.short else 30), given.repeats or (1 if given.short else 3)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        kind = KINDS["vqa"]
        rows = make_rows(base / "data", kind, steps, side=224)
        model = "tiny"
        if not given.short:
            make_model(base / "model")
            model = str(base / "model")
        settings = {"1 process, 2 threads": (1, 2), "2 processes, 1 thread each": (2, 1)}
        found: dict[str, list[Outcome]] = {title: [] for title in settings}
        for number in range(repeats):
            for title, (ranks, threads) in settings.items():
                home = base / f"{ranks}-{number}"
                found[title].append(run(home, model, rows, kind.per_step, steps, ranks, threads))
    print_table(found, given.json)


def run(home: Path, model: str, rows: Path, per_step: int, steps: int, ranks: int, threads: int) -> Outcome:
    """One run with the same examples in a step, whatever the number of processes."""
    command = [
        *(*COMMAND, "train-vision", "--base-model", model, "--dataset", str(rows), "--device", "cpu", "--detach"),
        *("--max-steps", str(steps), "--batch-size", "1", "--gradient-accumulation-steps", str(per_step // ranks)),
        *("--processes", str(ranks), "--sample-count", "0", "--save-steps", "100000", "--no-gradient-checkpointing"),
        *("--max-pixels", "50176", "--vision-cache", "off"),
    ]
    environment = {**os.environ, "MODEL_GARDEN_HOME": str(home), "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    (folder,) = (home / "runs").iterdir()
    first = max(steps // 3, 2)
    wait_for(folder, first)
    pids = [json.loads(path.read_text())["pid"] for path in (folder / "ranks").glob("[0-9].json")]
    began, step = bytes_sent(pids), newest_step(folder)
    wait_for(folder, steps - 2)
    ended, last = bytes_sent(pids), newest_step(folder)
    events = wait_for(folder, None)
    measured = [event for event in events if event["kind"] == "step" and event["step"] > first]
    plan = next(event for event in events if event["kind"] == "plan")
    return Outcome(
        sum(event["supervised_tokens"] for event in measured) / sum(event["seconds"] for event in measured),
        statistics.median(event["seconds"] for event in measured),
        (ended - began) / max(last - step, 1) / ranks,
        sum(part["trained"] for part in plan["trainable"].values()),
    )


def read_events(folder: Path) -> list[dict[str, Any]]:
    """The events of a run so far."""
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def newest_step(folder: Path) -> int:
    """Steps done."""
    return max((event["step"] for event in read_events(folder) if event["kind"] == "step"), default=0)


def wait_for(folder: Path, step: int | None) -> list[dict[str, Any]]:
    """The events, once a step is done; None: once the run has finished.

    Raises:
        RuntimeError: it failed, or took too long.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        events = read_events(folder)
        if any(event["kind"] == "failed" for event in events) or time.monotonic() > deadline:
            raise RuntimeError(f"{folder}: {events[-1]}")
        if any(event["kind"] == "finished" for event in events):
            return events
        if step is not None and any(event["kind"] == "step" and event["step"] >= step for event in events):
            return events
        time.sleep(0.02)


def bytes_sent(pids: list[int]) -> int:
    """Bytes that processes have sent over TCP so far, all their open connections together."""
    if not pids:
        return 0
    lines = subprocess.run(["ss", "-HtiOnp"], check=True, capture_output=True, text=True).stdout.splitlines()
    own = [line for line in lines if any(f"pid={pid}," in line for pid in pids)]
    return sum(int(found.group(1)) for line in own if (found := re.search(r"bytes_sent:(\d+)", line)))


def print_table(found: dict[str, list[Outcome]], file: Path | None) -> None:
    """Medians, and the ratio that the second kind has of the first."""
    medians = {}
    print(f"load average: {os.getloadavg()[0]:.1f}; {os.cpu_count()} cores")
    print(f"{'':<28} {'tokens/s':>9} {'s/step':>8} {'sent KiB/step':>14} {'minimum':>9}")
    for title, outcomes in found.items():
        speed = statistics.median(outcome.tokens_per_second for outcome in outcomes)
        seconds = statistics.median(outcome.seconds for outcome in outcomes)
        sent = statistics.median(outcome.sent for outcome in outcomes)
        ranks = int(title.split()[0])
        minimum = 2 * (ranks - 1) / ranks * BYTES_PER_GRADIENT * outcomes[0].parameters
        medians[title] = {"tokens_per_second": speed, "seconds": seconds, "sent": sent, "minimum": minimum}
        print(f"{title:<28} {speed:>9.1f} {seconds:>8.3f} {sent / 1024:>14.1f} {minimum / 1024:>9.1f}")
    one, two = (values["tokens_per_second"] for values in medians.values())
    print(f"two processes do {two / one:.2f} times the tokens of one in the same time")
    if file is not None:
        file.write_text(json.dumps({"load": os.getloadavg(), "figures": medians}, indent=1) + "\n")


if __name__ == "__main__":
    main()

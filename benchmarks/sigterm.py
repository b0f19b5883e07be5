"""From SIGTERM to a whole checkpoint: what a machine that ends early has to grant a run.

    uv run python benchmarks/sigterm.py                     # 50 tries, the table in docs/watching.md
    uv run python benchmarks/sigterm.py --short             # 6 tries, printed only
    uv run python benchmarks/sigterm.py -- --stop-grace 10  # steps that do not fit are abandoned

One run of the benchmark model (134.7M parameters, LoRA of rank 16, float32, five questions an image, ten a step)
is started, gets SIGTERM at a random moment of a step once it has done some, is resumed, and so on. Seconds are those
from the signal, as sent by this program: to the last file of the checkpoint, as the worker notes it; to the worker's
last event; and to its end. Every checkpoint is then read whole, and has to be of the last step that was done.
"""

import argparse
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.docs_page import describe_machine
from harness.model import make_model
from harness.synthetic_data import KINDS, make_rows

from mg_tui.core.events import Event
from mg_tui.runs import checkpoint_format, operations
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.store import find_run
from mg_tui.runs.watch import RunWatch

PAGE = Path(__file__).resolve().parent.parent / "docs" / "watching.md"
BEGIN, END = "<!-- measured by benchmarks/sigterm.py -->", "<!-- end of what was measured -->"
KIND = KINDS["vqa"]
_COMMAND = [sys.executable, "-P", "-c", "from mg_tui.cli.main import main; main()"]
_STEPS_BEFORE = 1  # of an attempt, before its signal
_PATIENCE_SECONDS = 600.0
_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class StopTimes:
    """Seconds from one SIGTERM to the whole checkpoint, the last event, and the worker's end.

    `step` and `writing` are what a step and the writing of that checkpoint took.
    """

    checkpoint: float
    event: float
    end: float
    step: float
    writing: float


class StoppedRun:
    """One run that is stopped and resumed.

    Args:
        home: a folder for runs.
        model, rows: what it trains.
        more: further options of `train-vision`.
    """

    def __init__(self, home: Path, model: Path, rows: Path, more: Sequence[str]):
        self._home = home
        os.environ.update(HF_HUB_OFFLINE="1", MODEL_GARDEN_CONFIG=str(home / "none.toml"))
        options = {
            "base-model": model,
            "dataset": rows,
            "epochs": 1000,
            "device": "cpu",
            "batch-size": KIND.per_step,
            "gradient-accumulation-steps": 1,
            "dtype": "float32",
            "quantization": "none",
            "lora-r": 16,
            "lora-alpha": 32,
            "sample-count": 0,
            "save-steps": 1_000_000,
        }
        flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        self._call("train-vision", *flags, *more, "--detach")
        self.folder: RunFolder = find_run(home, "last")
        self._new: list[Event] = []
        self._writing = 0.0

    def resume(self) -> None:
        """Start another attempt."""
        operations.resume_run(self.folder, "sigterm.py")

    def stop(self, chosen: random.Random, attempt: int) -> StopTimes:
        """Send SIGTERM at a random moment of a step, and wait for the worker's end.

        Raises:
            SystemExit: it does not train, or its checkpoint is not whole.
        """
        watch = RunWatch(self.folder, thin=False)
        steps = self._wait_for_steps(watch, attempt)
        step = statistics.median(steps)
        time.sleep(chosen.uniform(0.0, step))
        at = time.time()
        assert watch.view.pid is not None
        os.kill(watch.view.pid, signal.SIGTERM)
        self._wait(watch, lambda: watch.state.ended)
        end = time.time() - at
        view = watch.view
        newest, damaged = checkpoint_format.newest_valid(self.folder.checkpoints_dir)
        if newest is None or damaged or checkpoint_format.step_of(newest) != view.step or view.ended_at is None:
            raise SystemExit(f"the checkpoint is not whole: {newest}, {damaged}, step {view.step}, {view.result}")
        return StopTimes(float(view.result["checkpoint_seconds"]), view.ended_at - at, end, step, self._writing)

    def kill(self) -> None:
        """End the worker, if it lives."""
        watch = RunWatch(self.folder)
        watch.refresh()
        if not watch.state.ended and watch.view.pid is not None:
            os.kill(watch.view.pid, signal.SIGKILL)

    def _wait_for_steps(self, watch: RunWatch, attempt: int) -> list[float]:
        seconds: list[float] = []

        def trained() -> bool:
            for event in self._new:
                if event.kind == "step" and watch.view.attempt == attempt:
                    seconds.append(float(event.data["seconds"]))
            return len(seconds) >= _STEPS_BEFORE

        self._wait(watch, trained)
        return seconds

    def _wait(self, watch: RunWatch, is_so: Callable[[], bool]) -> None:
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            self._new = watch.refresh()
            for event in self._new:
                if event.kind == "checkpoint":
                    self._writing = float(event.data["seconds"])
            if is_so():
                return
            if time.monotonic() > until or (watch.view.error and watch.state.ended):
                raise SystemExit(f"{self.folder.path}: {watch.state.label}, {dict(watch.view.error)}")
            time.sleep(0.01)

    def _call(self, *arguments: str) -> None:
        command = [*_COMMAND, "--home", str(self._home), *arguments]
        done = subprocess.run(command, cwd=self._home, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)]


def format_table(times: Sequence[StopTimes]) -> str:
    """The table, with date and machine."""
    rows = {
        "(a step takes)": [item.step for item in times],
        "end of the step in progress": [item.checkpoint - item.writing for item in times],
        "whole checkpoint": [item.checkpoint for item in times],
        "last event": [item.event for item in times],
        "end of the worker": [item.end for item in times],
    }
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines = [
        f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, {describe_machine()}, load {load}, {len(times)} tries:",
        "",
        f"| seconds from SIGTERM to the | median | p{_SHARE * 100:.0f} | longest |",
        "|---|--:|--:|--:|",
    ]
    for title, values in rows.items():
        figures = (statistics.median(values), quantile(values, _SHARE), max(values))
        lines.append(f"| {title} | " + " | ".join(f"{value:.2f}" for value in figures) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=50)
    parser.add_argument("--short", action="store_true", help="6 tries, written to no page")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no try after that")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "model-garden-benchmarks")
    parser.add_argument("--print", action="store_true", dest="only_print", help="write no page")
    parser.add_argument("more", nargs="*", help="further options of train-vision, after --")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # its run ends with it
    if options.short:
        options.tries, options.only_print = 6, True
    model = options.work.absolute() / "models" / "mid-float32"
    make_model(model)
    rows = make_rows(options.work.absolute() / "data" / "sigterm", KIND, steps=12)
    chosen, times, until = random.Random(0), [], time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        run = StoppedRun(Path(folder), model, rows, options.more)
        try:
            for attempt in range(1, options.tries + 1):
                if attempt > 1 and time.monotonic() > until:
                    break
                if attempt > 1:
                    run.resume()
                times.append(item := run.stop(chosen, attempt))
                print(f"{attempt}: {item}", file=sys.stderr, flush=True)
        finally:
            run.kill()
    table = format_table(times)
    print(table)
    if not options.only_print:
        text = PAGE.read_text()
        head, begin, rest = text.partition(BEGIN)
        _old, end, tail = rest.partition(END)
        if not begin or not end:
            raise SystemExit(f"{PAGE} has no place for the table: {BEGIN} ... {END}")
        PAGE.write_text(f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}")


if __name__ == "__main__":
    main()

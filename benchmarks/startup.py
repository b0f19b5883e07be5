"""From the command to the end of the first optimizer step: where the time goes.

    uv run python benchmarks/startup.py                    # this environment, five starts
    uv run python benchmarks/startup.py --beside FOLDER    # in turn with another checkout of this project
    uv run python benchmarks/startup.py --families         # in turn with all model families but one disabled

Each start is `model-garden train-vision` on the tiny model that comes with the Qwen2.5-VL plugin and 40 drawn rows, for
one step, in a home of its own. The seconds of a phase are those between its event in the run's journal and the next
one's. CPU seconds are user and system time of all processes of a start until the result is saved: on a machine that
others use they say more than the seconds that passed.
"""

import argparse
import ctypes
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from harness.docs_page import describe_machine
from harness.synthetic_data import KINDS, make_rows

_PR_SET_CHILD_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h
_PHASE_NAMES = {"created": "worker process comes up", "started": "worker's first words", "step": "end"}
_REGISTRY = (
    "import time; from mg_tui.families import registry; began = time.process_time(); registry.load_registry(); "
    "print((time.process_time() - began) * 1000)"
)
_COMMAND = "from mg_tui.cli.main import main; main()"


@dataclass(frozen=True, slots=True)
class StartupTimes:
    """Seconds of one start by phase, in order; `first_step` to the first step's end, `cpu` of all its processes."""

    phases: Mapping[str, float]
    first_step: float
    cpu: float


def measure_startup(checkout: Path, rows: Path, home: Path, disabled: str = "") -> StartupTimes:
    """Run the command of a checkout once, with some plugins disabled.

    Raises:
        SystemExit: it failed.
    """
    environ = {**os.environ, "MODEL_GARDEN_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(checkout)}
    environ["MODEL_GARDEN_DISABLE_PLUGINS"] = disabled
    command = [sys.executable, "-P", "-c", _COMMAND, "train-vision", "--base-model", "tiny", "--dataset", str(rows)]
    command += ["--max-steps", "1", "--batch-size", "4", "--device", "cpu", "--sample-count", "0"]
    before, began = _child_cpu_seconds(), time.time()
    done = subprocess.run(command, env=environ, cwd=home, capture_output=True, text=True, check=False)
    _reap_children()
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    (journal,) = home.glob("runs/*/events.jsonl")
    marks = [("command until the run is made", began)]
    for event in map(json.loads, journal.read_text().splitlines()):
        name = _PHASE_NAMES.get(event["kind"], event.get("name") if event["kind"] == "phase" else None)
        if name is not None:
            marks.append((name, event["t"]))
        if event["kind"] == "step":
            break
    phases = {name: after - at for (name, at), (_next, after) in itertools.pairwise(marks)}
    return StartupTimes(phases, marks[-1][1] - began, _child_cpu_seconds() - before)


def measure_registry(disabled: str) -> float:
    """Milliseconds of CPU that a process takes to find and load its plugins."""
    environ = {**os.environ, "MODEL_GARDEN_DISABLE_PLUGINS": disabled}
    done = subprocess.run([sys.executable, "-c", _REGISTRY], env=environ, capture_output=True, text=True, check=True)
    return float(done.stdout)


def other_families() -> str:
    """The plugins but that of the tiny model, as they are disabled."""
    names = {entry.name for entry in entry_points(group="mg_tui.families")}
    return ",".join(sorted(names - {"qwen2_5_vl"}))


def _child_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _reap_children() -> None:
    """Wait for what the command left behind: orphans come to this process."""
    try:
        while True:
            os.wait()
    except ChildProcessError:
        return


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--beside", type=Path, help="another checkout, measured in turn")
    parser.add_argument(
        "--families", action="store_true", help="in turn with all families but that of the tiny model off"
    )
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    here = Path(__file__).resolve().parent.parent
    checkouts = {"this": (here, "")}
    if options.beside is not None:
        checkouts["the other"] = (options.beside.resolve(), "")
    if options.families:
        checkouts["one family"] = (here, other_families())
    result: dict[str, list[StartupTimes]] = {name: [] for name in checkouts}
    registries: dict[str, list[float]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        rows = make_rows(Path(folder), KINDS["vqa"], steps=4)
        for number in range(options.starts):
            for name, (checkout, disabled) in checkouts.items():
                home = Path(folder) / f"home-{number}-{name}"
                home.mkdir()
                result[name].append(item := measure_startup(checkout, rows, home, disabled))
                if checkout == here:
                    registries[name] += [measure_registry(disabled) for _time in range(5)]
                print(f"{name}: {item.first_step:.2f} s, {item.cpu:.2f} CPU s", file=sys.stderr)
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    print(f"{now}, {describe_machine()}, medians of {options.starts} starts\n")
    print("| Seconds | " + " | ".join(result) + " |\n|---|" + "--:|" * len(result))
    for phase in result["this"][0].phases:
        _print_row(phase, [[item.phases[phase] for item in starts] for starts in result.values()])
    _print_row("the end of the first step", [[item.first_step for item in starts] for starts in result.values()])
    if options.families:
        figures = " | ".join(f"{statistics.median(values):.1f}" if values else "–" for values in registries.values())
        print(f"| CPU milliseconds to find and load the plugins | {figures} |")
    _print_row("CPU seconds until the result is saved", [[item.cpu for item in starts] for starts in result.values()])


def _print_row(title: str, columns: Sequence[Sequence[float]]) -> None:
    print(f"| {title} | " + " | ".join(f"{statistics.median(values):.2f}" for values in columns) + " |")


if __name__ == "__main__":
    main()

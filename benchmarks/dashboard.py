"""The dashboard's manners in figures: first frame, keys while a run trains, what it sends, what it costs.

    uv run python benchmarks/dashboard.py             # everything, and the table in docs/dashboard.md
    uv run python benchmarks/dashboard.py --print     # the table only

Everything is measured from the other end of a pseudo terminal of 80x24. The run trains the tiny model that comes with
the Qwen2.5-VL plugin, on the same cores (`--cores` to hold everything to some), as fast as it can: a step takes about a
tenth of a second, so that a real run has far fewer steps to draw.
"""

import argparse
import datetime
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from harness.docs_page import machine
from harness.terminal import Terminal

PAGE = Path(__file__).resolve().parent.parent / "docs" / "dashboard.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
COMMAND = (sys.executable, "-c", "from mg_tui.cli.main import main; main()")
BARE_APP = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("bare is here")
Bare().run()
"""
TITLES = ("Learning rate", "Gradient norm", "Memory", "Tokens/s", "Images/s", "Data wait", "Loss")
SORT_LABELS = ("by state", "by name", "by loss", "run")  # what the top line says after each press of o


def measure_first_frames(home: Path, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds from the start of the process to its first words, ours and a bare Textual application's, interleaved."""
    bare = home.parent / "bare.py"
    bare.write_text(BARE_APP)
    ours, theirs = [], []
    for _ in range(repeats):
        for command, wanted, found in (((sys.executable, str(bare)), "bare is here", theirs), (COMMAND, "quit", ours)):
            with Terminal(command, _environ(home)) as shown:
                shown.until(wanted)
                found.append(time.perf_counter() - shown.started)
    return ours, theirs


def measure_latencies(shown: Terminal, key: str, answers: Sequence[str], presses: int) -> list[float]:
    """Milliseconds from a key to the first bytes that answer it; `answers` come in turn."""
    found, dice = [], random.Random(1)
    for index in range(presses):
        shown.settle(0.02)
        time.sleep(dice.uniform(0.05, 0.35))
        shown.settle(0.01)
        began = time.perf_counter()
        shown.press(key)
        shown.until(answers[index % len(answers)], 10.0)
        found.append(1000 * (time.perf_counter() - began))
    return found


def start_run(home: Path) -> str:
    """Start a run of the tiny model that goes on for a long time; returns its id."""
    from mg_tui.data.synthetic.demo import make_demo_dataset

    data = make_demo_dataset(home / "data", seed=0)
    command = [*COMMAND, "train-vision", "--base-model", "tiny", "--dataset", str(data.train), "--name", "measured"]
    command += ["--max-steps", "100000", "--max-pixels", "12544", "--detach"]
    done = subprocess.run(command, env={**os.environ, **_environ(home)}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def measure(repeats: int, presses: int, seconds: float) -> list[tuple[str, str]]:
    """The lines of the table."""
    rows: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        home.mkdir()
        ours, theirs = map(statistics.median, measure_first_frames(home, repeats))
        rows.append(("first frame", f"{ours:.2f} s; a bare Textual application {theirs:.2f} s ({ours / theirs:.2f}x)"))
        with Terminal(COMMAND, _environ(home)) as shown:
            shown.until("quit")
            shown.watch(4.0)
            rows.append(("at rest, no runs", _format_stats(shown.watch(seconds))))
        run = start_run(home)
        try:
            rows += _measure_while_training(home, presses, seconds)
        finally:
            subprocess.run([*COMMAND, "runs", "stop", "--now", run], env={**os.environ, **_environ(home)}, check=False)
            time.sleep(2.0)
    return rows


def _measure_while_training(home: Path, presses: int, seconds: float) -> list[tuple[str, str]]:
    with Terminal(COMMAND, _environ(home)) as shown:
        shown.until(" running", 120.0)
        shown.watch(30.0)  # it loads first
        rows = [("list, a run training", _format_stats(shown.watch(seconds)))]
        listed = measure_latencies(shown, "o", SORT_LABELS, presses)
        shown.press("\r")
        shown.until("Loss", 20.0)
        shown.watch(3.0)
        rows.append(("run screen, the run training", _format_stats(shown.watch(seconds))))
        opened = measure_latencies(shown, "m", TITLES, presses)
        for name, found in (("keys in the list", listed), ("keys on the run screen", opened)):
            cuts = statistics.quantiles(found, n=20)
            said = (
                f"median {statistics.median(found):.0f} ms, 95 % within {cuts[-1]:.0f} ms, longest {max(found):.0f} ms"
            )
            rows.append((f"{name}, a run training", f"{said} ({len(found)} presses)"))
        return rows


def _format_stats(sent: object) -> str:
    from harness.terminal import Sent

    assert isinstance(sent, Sent)
    return (
        f"{sent.updates_per_second:.1f} updates/s, {sent.bytes_per_second:.0f} bytes/s, "
        f"{sent.cpu_percent:.1f} % of a core"
    )


def _environ(home: Path) -> dict[str, str]:
    return {"MODEL_GARDEN_HOME": str(home), "MODEL_GARDEN_CONFIG": str(home / "none.toml"), "HF_HUB_OFFLINE": "1"}


def format_table(rows: Sequence[tuple[str, str]], load: float) -> str:
    """The table with what it was measured on."""
    said = f"Measured on {datetime.date.today()} on {machine()}; Textual {version('textual')}, Python "
    said += f"{sys.version.split()[0]}; load average before: {load:.1f}. `benchmarks/dashboard.py` measures again."
    return "\n".join([said, "", "| what | measured |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="starts for the first frame")
    parser.add_argument("--presses", type=int, default=150, help="keys on each screen")
    parser.add_argument("--seconds", type=float, default=20.0, help="of looking on, each time")
    parser.add_argument("--cores", help="hold everything to these, e.g. 0,1")
    parser.add_argument("--print", action="store_true", dest="only_print", help="leave the page as it is")
    given = parser.parse_args()
    if given.cores:
        os.sched_setaffinity(0, {int(core) for core in given.cores.split(",")})
    load = os.getloadavg()[0]
    text = format_table(measure(given.repeats, given.presses, given.seconds), load)
    print(text)
    if not given.only_print:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

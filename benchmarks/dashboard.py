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

from harness.docs_page import describe_machine
from harness.terminal import PseudoTerminal

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
        for command, expected, result in (
            ((sys.executable, str(bare)), "bare is here", theirs),
            (COMMAND, "quit", ours),
        ):
            with PseudoTerminal(command, _environ(home)) as displayed:
                displayed.wait_for(expected)
                result.append(time.perf_counter() - displayed.started)
    return ours, theirs


def measure_latencies(displayed: PseudoTerminal, key: str, answers: Sequence[str], presses: int) -> list[float]:
    """Milliseconds from a key to the first bytes that answer it; `answers` come in turn."""
    result, dice = [], random.Random(1)
    for index in range(presses):
        displayed.wait_quiet(0.02)
        time.sleep(dice.uniform(0.05, 0.35))
        displayed.wait_quiet(0.01)
        began = time.perf_counter()
        displayed.send_keys(key)
        displayed.wait_for(answers[index % len(answers)], 10.0)
        result.append(1000 * (time.perf_counter() - began))
    return result


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
        with PseudoTerminal(COMMAND, _environ(home)) as displayed:
            displayed.wait_for("quit")
            displayed.measure(4.0)
            rows.append(("at rest, no runs", _format_stats(displayed.measure(seconds))))
        run = start_run(home)
        try:
            rows += _measure_while_training(home, presses, seconds)
        finally:
            subprocess.run([*COMMAND, "runs", "stop", "--now", run], env={**os.environ, **_environ(home)}, check=False)
            time.sleep(2.0)
    return rows


def _measure_while_training(home: Path, presses: int, seconds: float) -> list[tuple[str, str]]:
    with PseudoTerminal(COMMAND, _environ(home)) as displayed:
        displayed.wait_for(" running", 120.0)
        displayed.measure(30.0)  # it loads first
        rows = [("list, a run training", _format_stats(displayed.measure(seconds)))]
        listed = measure_latencies(displayed, "o", SORT_LABELS, presses)
        displayed.send_keys("\r")
        displayed.wait_for("Loss", 20.0)
        displayed.measure(3.0)
        rows.append(("run screen, the run training", _format_stats(displayed.measure(seconds))))
        opened = measure_latencies(displayed, "m", TITLES, presses)
        for name, result in (("keys in the list", listed), ("keys on the run screen", opened)):
            cuts = statistics.quantiles(result, n=20)
            median = statistics.median(result)
            text = f"median {median:.0f} ms, 95 % within {cuts[-1]:.0f} ms, longest {max(result):.0f} ms"
            rows.append((f"{name}, a run training", f"{text} ({len(result)} presses)"))
        return rows


def _format_stats(sent: object) -> str:
    from harness.terminal import TerminalOutput

    assert isinstance(sent, TerminalOutput)
    return (
        f"{sent.updates_per_second:.1f} updates/s, {sent.bytes_per_second:.0f} bytes/s, "
        f"{sent.cpu_percent:.1f} % of a core"
    )


def _environ(home: Path) -> dict[str, str]:
    return {"MODEL_GARDEN_HOME": str(home), "MODEL_GARDEN_CONFIG": str(home / "none.toml"), "HF_HUB_OFFLINE": "1"}


def format_table(rows: Sequence[tuple[str, str]], load: float) -> str:
    """The table with what it was measured on."""
    messages = f"Measured on {datetime.date.today()} on {describe_machine()}; Textual {version('textual')}, Python "
    messages += f"{sys.version.split()[0]}; load average before: {load:.1f}. `benchmarks/dashboard.py` measures again."
    return "\n".join(
        [messages, "", "| what | measured |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="starts for the first frame")
    parser.add_argument("--presses", type=int, default=150, help="keys on each screen")
    parser.add_argument("--seconds", type=float, default=20.0, help="of looking on, each time")
    parser.add_argument("--cores", help="hold everything to these, e.g. 0,1")
    parser.add_argument("--print", action="store_true", dest="only_print", help="leave the page as it is")
    inputs = parser.parse_args()
    if inputs.cores:
        os.sched_setaffinity(0, {int(core) for core in inputs.cores.split(",")})
    load = os.getloadavg()[0]
    text = format_table(measure(inputs.repeats, inputs.presses, inputs.seconds), load)
    print(text)
    if not inputs.only_print:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

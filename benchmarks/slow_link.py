"""The dashboard over a slow link: keys, bytes and the first frame over ssh, with 200 ms and 2 % of the packets lost.

    uv run python benchmarks/slow_link.py             # the table in docs/dashboard.md
    uv run python benchmarks/slow_link.py --print     # the table only

A real sshd, and a client in a network namespace at the other end of `harness.slow_link`: both need root (or
CAP_NET_ADMIN), ip, /dev/net/tun and openssh-server. A stand-in writes the journal of a run, two steps a second. What is
measured is at the client's end: from the key that is typed to the bytes that answer it.
"""

import argparse
import contextlib
import datetime
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dashboard import SORT_LABELS, TITLES, measure_latencies
from harness.docs_page import describe_machine
from harness.slow_link import SlowLink
from harness.terminal import PseudoTerminal

from mg_tui.runs.store import run_folders
from tests.e2e.ssh_host import SshHost
from tests.tui.fuzzing import LiveRun
from tests.tui.synthetic_runs import synthetic_home

PAGE = Path(__file__).resolve().parent.parent / "docs" / "dashboard.md"
BEGIN, END = "<!-- slow link: begin -->", "<!-- slow link: end -->"
HERE, THERE = "10.213.78.1", "10.213.78.2"


@contextlib.contextmanager
def slow_host(base: Path, round_trip: float, loss: float) -> Iterator[SshHost]:
    """A host at the other end of a link with this round trip (seconds) and loss (share) in each direction."""
    name = f"mgs{os.getpid()}"
    Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    with SlowLink(name, HERE, THERE, round_trip=round_trip, loss=loss) as link:
        host = SshHost(base, address=HERE, through=("ip", "netns", "exec", name))
        try:
            time.sleep(1.0)
            yield host
        finally:
            host.close()
            print(f"{link.packets} packets, {link.dropped} dropped", file=sys.stderr)


def measure_echo(host: SshHost, presses: int) -> list[float]:
    """Milliseconds from a key to its echo by the terminal of the other side: the link itself."""
    *client, _command = host.command("", terminal=True)
    dice, result = random.Random(1), []
    with PseudoTerminal(which([*client, "stty -icanon; cat > /dev/null"]), {}) as terminal:
        terminal.wait_quiet(3.0)
        for index in range(presses):
            time.sleep(dice.uniform(0.05, 0.35))
            began = time.perf_counter()
            terminal.send_keys("abcdefghij"[index % 10])
            terminal.wait_for("abcdefghij"[index % 10], 20.0)
            result.append(1000 * (time.perf_counter() - began))
    return result


def which(command: Sequence[str]) -> list[str]:
    """The command with the path of its program."""
    return ["/usr/bin/env", *command]


def measure(presses: int, seconds: float, round_trip: float, loss: float) -> list[tuple[str, str]]:
    """The lines of the table."""
    rows: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as scratch, synthetic_home(Path(scratch) / "garden") as home:
        live = LiveRun(
            next(folder for folder in run_folders(home) if folder.id.endswith("invoices-v2")), 310, 0.5, scores=False
        )
        live.start()
        try:
            with slow_host(Path(scratch), round_trip, loss) as host:
                rows.append(("echo of a key, without the dashboard", format_latencies(measure_echo(host, presses))))
                rows += _measure_dashboard(host, presses, seconds)
        finally:
            live.end()
    return rows


def _measure_dashboard(host: SshHost, presses: int, seconds: float) -> list[tuple[str, str]]:
    with PseudoTerminal(which(host.command("", terminal=True, rows=24, columns=80)), {}) as terminal:
        terminal.wait_for("quit")
        rows = [("first frame, from the start of ssh", f"{time.perf_counter() - terminal.started:.1f} s")]
        terminal.measure(6.0)
        rows.append(("list, a run training", format_output(terminal, seconds)))
        rows.append(("keys in the list", format_latencies(measure_latencies(terminal, "o", SORT_LABELS, presses))))
        terminal.send_keys("gj\r")
        terminal.wait_for("Loss", 20.0)
        terminal.measure(4.0)
        rows.append(("run screen, the run training", format_output(terminal, seconds)))
        rows.append(("keys on the run screen", format_latencies(measure_latencies(terminal, "m", TITLES, presses))))
        rows.append(("a burst of 10 keys", format_latencies(measure_bursts(terminal, max(presses // 10, 3)))))
    return rows


def measure_bursts(terminal: PseudoTerminal, bursts: int) -> list[float]:
    """Milliseconds until ten letters, typed at once after the key that opens the filter of the log, are in it."""
    result = []
    for index in range(bursts):
        terminal.wait_quiet(0.1)
        word = "".join("abcdefghij"[(index + at) % 10] for at in range(10))
        began = time.perf_counter()
        terminal.send_keys(f"/{word}")
        terminal.wait_for(word[-1], 20.0)
        result.append(1000 * (time.perf_counter() - began))
        terminal.send_keys("\x1b")
        time.sleep(1.0)
    return result


def format_latencies(values: Sequence[float]) -> str:
    """Median, 95 % and longest."""
    within = statistics.quantiles(values, n=20, method="inclusive")[-1]
    text = f"median {statistics.median(values):.0f} ms, 95 % within {within:.0f} ms, longest {max(values):.0f} ms"
    return f"{text} ({len(values)} times)"


def format_output(terminal: PseudoTerminal, seconds: float) -> str:
    """What comes while nobody types."""
    sent = terminal.measure(seconds)
    return f"{sent.updates_per_second:.1f} updates/s, {sent.bytes_per_second:.0f} bytes/s"


def format_table(columns: dict[str, list[tuple[str, str]]], load: float) -> str:
    """A column for each link, with what it was measured on."""
    about = f"Measured on {datetime.date.today()} on {describe_machine()}; Textual {version('textual')}, Python "
    about += f"{sys.version.split()[0]}; load average before: {load:.1f}. `benchmarks/slow_link.py` measures again."
    head = ["| what | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines = zip(*columns.values(), strict=True)
    return "\n".join([about, "", *head, *(f"| {row[0][0]} | {' | '.join(text for _, text in row)} |" for row in lines)])


def replace_table(page: Path, text: str) -> None:
    """Put the table between the marks of the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=60, help="keys on each screen")
    parser.add_argument("--seconds", type=float, default=20.0, help="of looking on, each time")
    parser.add_argument("--delay", type=int, default=200, help="round trip in milliseconds")
    parser.add_argument("--loss", type=float, default=2.0, help="percent of the packets of each direction")
    parser.add_argument("--print", action="store_true", dest="only_print", help="leave the page as it is")
    inputs = parser.parse_args()
    load = os.getloadavg()[0]
    slow = f"{inputs.delay} ms, {inputs.loss:g} % lost"
    columns = {
        "no delay": measure(inputs.presses, inputs.seconds, 0, 0.0),
        slow: measure(inputs.presses, inputs.seconds, inputs.delay / 1000, inputs.loss / 100),
    }
    text = format_table(columns, load)
    print(text)
    if not inputs.only_print:
        replace_table(PAGE, text)


if __name__ == "__main__":
    main()

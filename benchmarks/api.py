"""The API beside a training run: listing and creating jobs, followers, what they cost the run, memory and start.

    uv run python benchmarks/api.py                 # everything in four minutes, and the table in docs/api.md
    uv run python benchmarks/api.py --print         # the table only
    uv run python benchmarks/api.py --minutes 2     # shorter phases

One server over a home with 1,000 runs that have ended and one that trains the tiny model on the same cores, as a
process of its own; callers are a third process. Load is 200 followers of the run's events and 1,000 listings a
minute; it alternates with no load, and the seconds a step takes are compared. What the callers themselves compute
takes cores from the run as well, which those of other machines do not: it is named beside the slowdown, and load is put
on a second time with callers that run only while a core is idle (SCHED_IDLE). An event is delivered when a follower has
read it; it begins when the worker wrote it into the journal.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from harness.docs_page import describe_machine

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
GARDEN = (sys.executable, "-c", "from mg_tui.cli.main import main; main()")
JOBS = "/api/v1/training/jobs"
RUNS, FOLLOWERS, LISTINGS_PER_MINUTE = 1_000, 200, 1_000
STARTS, SINGLE_LISTINGS, CREATIONS = 5, 100, 20
PAIRS = 3  # of a phase without load and one with it
_SINGLE_SECONDS = 30.0  # at most, for the listings one after another, and for the creations
_FIXED_SECONDS = 110.0  # of everything but those phases


@dataclass
class Figures:
    """What was measured; milliseconds, seconds a step, MiB."""

    starts: list[float] = field(default_factory=list)
    start_cpu: list[float] = field(default_factory=list)
    listings: list[float] = field(default_factory=list)
    creations: list[float] = field(default_factory=list)
    first_creation: float = 0.0
    alone: list[list[float]] = field(default_factory=list)  # seconds of each step, of each phase
    loaded: list[list[float]] = field(default_factory=list)
    yielding: list[list[float]] = field(default_factory=list)  # with callers that give way
    deliveries: list[float] = field(default_factory=list)
    loaded_listings: list[float] = field(default_factory=list)
    server_share: float = 0.0  # of a core, under load
    callers_share: float = 0.0
    memory_idle: float = 0.0
    memory_loaded: float = 0.0
    others: float = 0.0  # of all cores, what processes that are none of these kept busy


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4.0, help="in all, about")
    parser.add_argument("--print", action="store_true", dest="only_print", help="do not write docs/api.md")
    parser.add_argument("--call", nargs=4, metavar=("URL", "RUN", "SECONDS", "AFTER"), help=argparse.SUPPRESS)
    parser.add_argument("--give-way", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.give_way:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if options.call is not None:
        print(json.dumps(asyncio.run(call(*options.call))))
        return
    phase = max((60 * options.minutes - _FIXED_SECONDS) / (3 * PAIRS), 5.0)
    base = Path(tempfile.mkdtemp(prefix="api-benchmark-"))
    try:
        table = format_table(measure(base, phase), phase)
    finally:
        stop_everything(base)
        shutil.rmtree(base, ignore_errors=True)
    print(table)
    if not options.only_print:
        write_table(table)


def measure(base: Path, phase: float) -> Figures:
    """All figures; `phase`: seconds of each phase with and without load."""
    figures, home, work = Figures(), base / "home", base / "work"
    rows = make_runs(home, work)
    for _ in range(STARTS + 1):  # the first reads the disk
        measure_start(home, work, figures)
    figures.starts.pop(0)
    figures.start_cpu.pop(0)
    say(f"starts: {[round(seconds, 2) for seconds in figures.starts]}")
    run = start_run(home, work, rows)
    process, url, _seconds = start_server(home, work)
    server = psutil.Process(process.pid)
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            journal = home / "runs" / run / "events.jsonl"
            wait_for(lambda: len(step_seconds(journal)) >= 3)
            timed(lambda: client.get(JOBS))  # reads all runs once
            figures.memory_idle = server.memory_info().rss / 2**20
            measure_listings(client, figures)
            say(f"p95 of listings: {p95(figures.listings):.0f} ms")
            measure_load(figures, journal, url, run, server, phase)
            figures.memory_loaded = max(figures.memory_loaded, server.memory_info().rss / 2**20)
            measure_creations(client, rows, figures)
            say(f"p95 of {len(figures.creations)} creations: {p95(figures.creations):.0f} ms")
    finally:
        process.terminate()
        process.wait(30)
    return figures


def measure_start(home: Path, work: Path, figures: Figures) -> None:
    """A start of the whole process, until it accepts connections and has answered one."""
    process, url, seconds = start_server(home, work)
    used = psutil.Process(process.pid).cpu_times()
    httpx.get(f"{url}/health").raise_for_status()
    process.terminate()
    process.wait(30)
    figures.starts.append(seconds)
    figures.start_cpu.append(used.user + used.system)


def measure_listings(client: httpx.Client, figures: Figures) -> None:
    """Listings one after another, with pauses, while the run trains."""
    deadline = time.monotonic() + _SINGLE_SECONDS
    while len(figures.listings) < SINGLE_LISTINGS and time.monotonic() < deadline:
        figures.listings.append(timed(lambda: client.get(JOBS)))
        time.sleep(0.05)


def measure_creations(client: httpx.Client, rows: Path, figures: Figures) -> None:
    """Creations of jobs that wait in the queue, each stopped before the next. The first loads what reads datasets."""
    deadline = time.monotonic() + _SINGLE_SECONDS
    for number in range(CREATIONS + 1):
        if time.monotonic() > deadline:
            break
        body = {"base_model": "tiny", "dataset": str(rows), "name": f"created {number}", "max_steps": 1}
        answers: list[httpx.Response] = []
        figures.creations.append(timed(lambda body=body, answers=answers: answers.append(client.post(JOBS, json=body))))
        answers[0].raise_for_status()
        client.post(f"{answers[0].headers['Location']}/stop")
        time.sleep(0.5)
    figures.first_creation = figures.creations.pop(0)


def measure_load(figures: Figures, journal: Path, url: str, run: str, server: psutil.Process, phase: float) -> None:
    """Phases without and with load, in turn."""
    server_seconds = callers_seconds = aside = wall = 0.0
    busy, began = busy_seconds(), time.monotonic()
    own = own_seconds(server, journal)
    for _ in range(PAIRS):
        figures.alone.append(steps_within(journal, phase))
        callers = start_callers(url, run, phase, journal, "--give-way")
        figures.yielding.append(steps_within(journal, phase))
        aside += json.loads(callers.communicate(timeout=120)[0])["cpu"]
        callers = start_callers(url, run, phase, journal)
        before, then = cpu_of(server), time.monotonic()
        figures.loaded.append(steps_within(journal, phase))
        output, _ = callers.communicate(timeout=60)
        server_seconds += cpu_of(server) - before
        wall += time.monotonic() - then
        result = json.loads(output)
        callers_seconds += result["cpu"]
        figures.deliveries += result["deliveries"]
        say(f"with load: {len(figures.loaded[-1])} steps; without: {len(figures.alone[-1])}")
        figures.loaded_listings += result["listings"]
        figures.memory_loaded = max(figures.memory_loaded, server.memory_info().rss / 2**20)
    figures.server_share, figures.callers_share = server_seconds / wall, callers_seconds / wall
    elapsed = (time.monotonic() - began) * (psutil.cpu_count() or 1)
    used = own_seconds(server, journal) - own + callers_seconds + aside
    figures.others = max(busy_seconds() - busy - used, 0.0) / elapsed


def start_callers(url: str, run: str, phase: float, journal: Path, *flags: str) -> "subprocess.Popen[str]":
    """Start the callers; returns when all of them follow."""
    command = [sys.executable, __file__, *flags, "--call", url, run, str(phase), str(last_number(journal))]
    callers = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert callers.stdout is not None and callers.stdout.readline() == "ready\n"
    return callers


async def call(url: str, run: str, seconds: str, after: str) -> dict[str, Any]:
    """The callers, for some seconds: followers of a run from an event on, and listings; milliseconds of each."""
    connected: list[float] = []
    deliveries: list[float] = []
    listings: list[float] = []
    host, _, port = url.removeprefix("http://").partition(":")

    async def follow() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        path = f"{JOBS}/{run}/events?after={after}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        try:
            while not (await reader.readline()).startswith(b"retry"):
                pass
            connected.append(time.time())
            while line := await reader.readline():
                at = line.find(b'"t":')
                if at > 0 and (written := float(line[at + 4 :].partition(b",")[0])) > max(connected):
                    deliveries.append(1000 * (time.time() - written))
        finally:
            writer.close()

    async def list_jobs() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            while True:
                then = time.perf_counter()
                (await client.get(JOBS)).raise_for_status()
                took = time.perf_counter() - then
                listings.append(1000 * took)
                await asyncio.sleep(max(60 / LISTINGS_PER_MINUTE - took, 0))

    tasks = [asyncio.create_task(follow()) for _ in range(FOLLOWERS)]
    while len(connected) < FOLLOWERS and not any(task.done() for task in tasks):
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    began = time.process_time()
    tasks.append(asyncio.create_task(list_jobs()))
    done, _pending = await asyncio.wait(tasks, timeout=float(seconds), return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        task.cancel()
    for task in done:
        task.result()  # a caller that was refused fails here
    return {"cpu": time.process_time() - began, "deliveries": deliveries, "listings": listings}


def make_runs(home: Path, work: Path) -> Path:
    """A home with runs that have ended; returns the dataset."""
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.data.synthetic.vision_dataset import create_vision_dataset
    from mg_tui.runs.folder import RunFolder
    from mg_tui.runs.journal import JournalWriter

    rows = work / "data" / "rows.jsonl"
    create_vision_dataset(rows, 64, force=True)
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": str(rows), "name": "old"})
    model = RunFolder.create(home, spec, run_id="20260101-000000-aaaa", cwd=work)
    with JournalWriter(model.journal_file) as journal:
        journal.write("started", pid=1, host="box", attempt=1, resumed_from=None, versions={})
        journal.write("plan", steps=100, examples=64)
        for step in range(1, 101):
            journal.write("step", step=step, loss=1 / step, learning_rate=1e-4, seconds=0.5, tokens=900, images=8)
        journal.write("finished", steps=100)
    for number in range(1, RUNS):
        shutil.copytree(model.path, home / "runs" / f"20260101-{number:06d}-aaaa")
    return rows


def start_run(home: Path, work: Path, rows: Path) -> str:
    """Start a run that trains for as long as it is let; a step takes about half a second."""
    command = [*GARDEN, "--home", str(home), "train-vision", "--base-model", "tiny", "--dataset", str(rows)]
    command += ["--max-steps", "100000", "--batch-size", "4", "--gradient-accumulation-steps", "4", "--device", "cpu"]
    command += ["--sample-count", "0", "--detach"]
    environ = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=work, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.strip()


def start_server(home: Path, work: Path) -> tuple["subprocess.Popen[str]", str, float]:
    """A server; its address; and the seconds until it accepted connections."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [*GARDEN, "--home", str(home), "api", "--port", "0"],
        cwd=work,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("API"):
            return process, line.split()[1].removesuffix("/api/v1"), time.perf_counter() - began
    sys.exit("the server did not start")


def stop_everything(base: Path) -> None:
    """End the processes of the home."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(base) in word for word in words) and process.pid != os.getpid():
            process.send_signal(signal.SIGKILL)


def say(text: str) -> None:
    """Tell what is measured."""
    print(text, file=sys.stderr, flush=True)


def timed(do: Callable[[], Any]) -> float:
    """Milliseconds of a call."""
    began = time.perf_counter()
    do()
    return 1000 * (time.perf_counter() - began)


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("the run does not train")
        time.sleep(0.2)


def step_seconds(journal: Path) -> list[float]:
    """The seconds that each step so far took."""
    events = map(json.loads, journal.read_bytes().splitlines()) if journal.is_file() else ()
    return [event["seconds"] for event in events if event["kind"] == "step"]


def last_number(journal: Path) -> int:
    """The number of the newest event."""
    return int(json.loads(journal.read_bytes().splitlines()[-1])["n"])


def steps_within(journal: Path, seconds: float) -> list[float]:
    """The seconds of the steps that end within a time from now."""
    before = len(step_seconds(journal))
    time.sleep(seconds)
    return step_seconds(journal)[before:]


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process."""
    used = process.cpu_times()
    return float(used.user + used.system)


def own_seconds(server: psutil.Process, journal: Path) -> float:
    """CPU seconds of the server and of the run's processes so far."""
    folder = str(journal.parent)
    workers = [p for p in psutil.process_iter(["cmdline"]) if any(folder in word for word in p.info["cmdline"] or [])]
    return cpu_of(server) + sum(map(cpu_of, workers))


def busy_seconds() -> float:
    """CPU seconds of all processes of this machine."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice)


def p95(values: Sequence[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else float("nan")


def format_table(figures: Figures, phase: float) -> str:
    """What was measured, as Markdown."""
    alone = statistics.mean([seconds for steps in figures.alone for seconds in steps])
    loaded = statistics.mean([seconds for steps in figures.loaded for seconds in steps])
    yielding = statistics.mean([seconds for steps in figures.yielding for seconds in steps])
    quiet = "the machine was quiet" if figures.others < 0.05 else "the machine was not quiet: take it with care"
    rows = [
        ("start of the process until it answers, median of 5", f"{statistics.median(figures.starts):.2f} s", "0.8 s"),
        ("its CPU time, median", f"{statistics.median(figures.start_cpu):.2f} s", ""),
        (f"list of jobs, {RUNS:,} runs, p95", f"{p95(figures.listings):.0f} ms", "50 ms"),
        (
            f"creation of a job, p95 of {len(figures.creations)}; the server's first",
            f"{p95(figures.creations):.0f} ms; {figures.first_creation:.0f} ms",
            "150 ms",
        ),
        (
            f"list of jobs under load, p95 of {len(figures.loaded_listings):,}",
            f"{p95(figures.loaded_listings):.0f} ms",
            "",
        ),
        (f"delivery of an event, p95 of {len(figures.deliveries):,}", f"{p95(figures.deliveries):.0f} ms", "1,000 ms"),
        (f"step of the run alone, mean of {sum(map(len, figures.alone))}", f"{alone:.3f} s", ""),
        (
            f"step under load, mean of {sum(map(len, figures.loaded))}",
            f"{loaded:.3f} s: {100 * (loaded / alone - 1):+.1f} %",
            "+5 %",
        ),
        (
            f"step under load of callers that give way, mean of {sum(map(len, figures.yielding))}",
            f"{yielding:.3f} s: {100 * (yielding / alone - 1):+.1f} %",
            "+5 %",
        ),
        ("CPU under load: server, callers", f"{figures.server_share:.0%}, {figures.callers_share:.0%} of a core", ""),
        ("memory of the server: idle, under load", f"{figures.memory_idle:.0f}, {figures.memory_loaded:.0f} MiB", ""),
    ]
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    head = (
        f"`benchmarks/api.py`, {now}, {describe_machine()}; {FOLLOWERS} followers and {LISTINGS_PER_MINUTE:,} listings "
        f"a minute, {PAIRS} times {phase:.0f} s with and without them. Others kept {figures.others:.0%} of the cores "
        f"busy: {quiet}."
    )
    lines = [f"| {what} | {value} | {aim} |" for what, value, aim in rows]
    return "\n".join([head, "", "| beside a run | measured | aim |", "|---|--:|--:|", *lines])


def write_table(table: str) -> None:
    """Put the table between the marks of docs/api.md."""
    head, begin, rest = PAGE.read_text().partition(BEGIN)
    _old, end, tail = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{PAGE} has no marks for the table")
    PAGE.write_text(f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}")


if __name__ == "__main__":
    main()

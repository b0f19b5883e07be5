"""How long a face takes to open a very long journal, and to follow it: `python benchmarks/journal.py [EVENTS]`.

Writes a journal of EVENTS (a million when left out) as a worker does, then opens it as the run screen does (every
event that is no step, of the steps some thousand), as the list of runs does (beginning and end), and follows it while
it grows. Prints a table with the machine, for docs/faults.md.
"""

import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

from mg_tui.core.events import Event
from mg_tui.core.spec import TrainingSpec
from mg_tui.hardware.host import cpu_name, usable_cores
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.store import LIST_READ_BYTES
from mg_tui.runs.watch import RunWatch

REFRESHES = 200  # times that a face looks, with ten new steps each


def step_line(n: int, number: int) -> str:
    data = {
        "step": number,
        "epoch": number / 1000,
        "loss": 1 / (1 + number),
        "learning_rate": 1e-4,
        "grad_norm": 0.5,
        "supervised_tokens": 512,
        "tokens": 4096,
        "laid_out": 2048,
        "images": 8,
        "images_encoded": 0,
        "images_cached": 8,
        "seconds": 0.8123,
        "data_wait": 0.0012,
        "device_memory": 8_000_000_000,
        "device_memory_peak": 9_000_000_000,
        "host_memory": 3_000_000_000,
    }
    return Event(n, 1_764_000_000 + n, "step", data).to_line()


def write_journal(folder: RunFolder, events: int) -> None:
    """A started run of so many events, with an evaluation, a checkpoint and a warning now and then."""
    with folder.journal_file.open("a", encoding="utf-8") as file:
        file.write(Event(2, 1_764_000_000.0, "started", {"pid": 1, "attempt": 1}).to_line())
        file.write(Event(3, 1_764_000_001.0, "plan", {"steps": 2 * events}).to_line())
        for n in range(4, events + 1):
            if n % 1000 == 0:
                file.write(Event(n, 1_764_000_000 + n, "eval", {"step": n, "loss": 1.0, "seconds": 9.0}).to_line())
            elif n % 1000 == 1:
                path = f"checkpoints/step-{n:06d}"
                file.write(Event(n, 1_764_000_000 + n, "checkpoint", {"step": n, "path": path, "bytes": 1}).to_line())
            else:
                file.write(step_line(n, n))


def time_refresh(watch: RunWatch) -> float:
    began = time.perf_counter()
    watch.refresh()
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print a table."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as home:
        folder = RunFolder.create(Path(home), TrainingSpec(base_model="tiny", dataset="/d"))
        write_journal(folder, events)
        size = folder.journal_file.stat().st_size / 2**20
        time_refresh(RunWatch(folder))  # the file is in memory from here on
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        watch = RunWatch(folder)
        opened = [time_refresh(watch), *(time_refresh(RunWatch(folder)) for _ in range(4))]
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        listed = [time_refresh(RunWatch(folder, ends_only=LIST_READ_BYTES)) for _ in range(5)]
        whole = time_refresh(RunWatch(folder, thin=False))
        looks = []
        with folder.journal_file.open("a", encoding="utf-8") as file:
            for look in range(REFRESHES):
                for new in range(10):
                    n = events + 1 + 10 * look + new
                    file.write(step_line(n, n))
                file.flush()
                looks.append(time_refresh(watch))
        assert watch.view.step == events + 10 * REFRESHES and len(watch.view.series) > 1000
        assert watch.reader.corrupt_lines == watch.reader.missing == 0
    print(f"{time.strftime('%Y-%m-%d')}, {cpu_name()}, {usable_cores()} cores, Python {platform.python_version()}")
    print(f"journal of {events:,} events, {size:.0f} MiB, in the page cache")
    print(
        f"open in the run screen   {min(opened):.2f} s to {max(opened):.2f} s, {(after - before) / 1024:.0f} MiB more"
    )
    print(f"open in the list         {1000 * max(listed):.1f} ms")
    print(f"every event parsed       {whole:.1f} s")
    print(f"ten new events followed  {1000 * sorted(looks)[REFRESHES // 2]:.2f} ms, {1000 * max(looks):.2f} ms at most")


if __name__ == "__main__":
    main()

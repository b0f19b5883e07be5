"""Benchmark of opening, random access, search and checks of datasets against `datasets` and plain Python.

    uv run python benchmarks/data.py                 # 10^3 to 10^6 rows, 100,000 images, docs/data-benchmarks.md
    uv run python benchmarks/data.py --most 10000    # quick, and printed only

Every figure is measured in its own process, together with its peak resident memory. Files are generated in a temporary
folder and are in the page cache, like a file that has just been copied. Times exclude the start of Python and include
the imports of the task.
"""

import argparse
import datetime
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs" / "data-benchmarks.md"
BEGIN, END = "<!-- measured by benchmarks/data.py -->", "<!-- end of what was measured -->"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
JUMP_COUNT = 20
WORDS = "a the red blue cat dog house on in near small large image shows what which colour how many stands".split()


# --- the tasks, each measured in its own process ---


def open_rows(path: Path, cache: Path) -> Any:
    from mg_tui.data.browser import open_browser
    from mg_tui.data.sources.opener import open_source

    return open_browser(open_source(str(path), cwd=path.parent, cache=cache), cache)


def ours_first(path: Path, cache: Path, rows: int) -> Any:
    assert len(open_rows(path, cache).read_rows(1, 50)) == 50


def ours_ready(path: Path, cache: Path, rows: int) -> Any:
    assert open_rows(path, cache).build_index()


def ours_jump(path: Path, cache: Path, rows: int) -> Any:
    opened = open_rows(path, cache)
    opened.build_index()
    return [timed(lambda n=number: opened.read_row(n)) for number in jump_targets(rows)]


def ours_find(path: Path, cache: Path, rows: int) -> Any:
    opened = open_rows(path, cache)
    return [timed(lambda: list(opened.find(f"number {rows} of")) == [rows])]


def ours_check(path: Path, cache: Path, rows: int) -> Any:
    from mg_tui.data.checks.runner import CheckLimits, run_checks
    from mg_tui.data.row_loader import ReadOptions
    from mg_tui.data.sources.opener import open_source

    source = open_source(str(path), cwd=path.parent, cache=cache)
    report = run_checks(source, ReadOptions(cwd=path.parent, cache=cache), CheckLimits(2048, 3136, 1_003_520))
    assert report.rows == rows and not report.blocks_run, report.counts


def ours_tokens(path: Path, cache: Path, rows: int) -> Any:
    from mg_tui.config import Settings
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.preflight.dataset_check import check_dataset

    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": str(path)})
    report = check_dataset(spec, Settings(cache / "home", cache), cwd=path.parent)
    assert report.rows == rows and report.total_tokens is not None and report.total_tokens.total == rows


def peer_open(path: Path, cache: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache / "datasets"))


def peer_first(path: Path, cache: Path, rows: int) -> Any:
    import datasets

    datasets.disable_progress_bars()
    streamed = datasets.load_dataset("json", data_files=str(path), split="train", streaming=True)
    assert len(list(streamed.take(50))) == 50


def peer_ready(path: Path, cache: Path, rows: int) -> Any:
    assert len(peer_open(path, cache)) == rows


def peer_jump(path: Path, cache: Path, rows: int) -> Any:
    opened = peer_open(path, cache)
    return [timed(lambda n=number: opened[n - 1]) for number in jump_targets(rows)]


def peer_find(path: Path, cache: Path, rows: int) -> Any:
    opened = peer_open(path, cache)
    began = time.perf_counter()
    figures = [i for i, text in enumerate(opened["response"], 1) if f"number {rows} of" in text.lower()]
    assert figures == [rows]
    return [time.perf_counter() - began]


def plain_first(path: Path, cache: Path, rows: int) -> Any:
    with path.open(encoding="utf-8") as file:
        assert len([json.loads(line) for line in islice(file, 50)]) == 50


def plain_jump(path: Path, cache: Path, rows: int) -> Any:
    def jump(number: int) -> None:
        with path.open(encoding="utf-8") as file:
            json.loads(next(islice(file, number - 1, None)))

    return [timed(lambda n=number: jump(n)) for number in list(jump_targets(rows))[:5]]


def plain_find(path: Path, cache: Path, rows: int) -> Any:
    needle = f"number {rows} of"
    with path.open(encoding="utf-8") as file:
        assert [i for i, line in enumerate(file, 1) if needle in json.loads(line)["response"].lower()] == [rows]


def plain_read(path: Path, cache: Path, rows: int) -> Any:
    with path.open(encoding="utf-8") as file:
        assert sum(1 for line in file if json.loads(line)) == rows


TASKS: dict[str, Callable[[Path, Path, int], Any]] = {
    f"{tool} {task}": globals()[f"{name}_{task}"]
    for tool, name, tasks in (
        ("Model Garden", "ours", ("first", "ready", "jump", "find", "check", "tokens")),
        ("datasets", "peer", ("first", "ready", "jump", "find")),
        ("plain Python", "plain", ("first", "jump", "find", "read")),
    )
    for task in tasks
}


def timed(work: Callable[[], Any]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def jump_targets(rows: int) -> Iterator[int]:
    """Rows to jump to."""
    rng = random.Random(rows)
    return (rng.randint(1, rows) for _jump in range(JUMP_COUNT))


def run_task(task: str, path: Path, cache: Path, rows: int) -> None:
    """Measure, and print seconds and peak memory."""
    began = time.perf_counter()
    inner = TASKS[task](path, cache, rows)
    seconds = median(inner) if inner else time.perf_counter() - began
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    # Includes the CPU time of Python's start, about 10 ms.
    record = {"seconds": seconds, "cpu": None if inner else cpu, "peak": own.ru_maxrss * 1024}
    print(json.dumps(record))


# --- generating files, running tasks, writing the page ---


def write_dataset(path: Path, rows: int, *, images: int = 0) -> Path:
    """A dataset of about a kilobyte a row; with `images`, a file of its own for every row up to that many."""
    rng = random.Random(1)
    body = " ".join(rng.choice(WORDS) for _word in range(400))
    folder = path.parent / "images"
    if images:
        _write_images(folder, images)
    with path.open("w", encoding="utf-8") as file:
        for number in range(1, rows + 1):
            at = number % 900
            row = {
                "text": f"What is number {number}?",
                "image": f"images/{number % images}.jpg" if images else None,
                "response": f"It is number {number} of many. {body[at : at + 800]}",
            }
            file.write(json.dumps(row) + "\n")
    return path


def _write_images(folder: Path, count: int) -> None:
    import io

    from PIL import Image

    folder.mkdir()
    buffer = io.BytesIO()
    Image.effect_noise((224, 224), 60).convert("RGB").save(buffer, "JPEG", quality=60)
    for number in range(count):
        # Bytes after the end of a JPEG are ignored: files of different content without encoding each.
        (folder / f"{number}.jpg").write_bytes(buffer.getvalue() + number.to_bytes(4, "big"))


def measure(task: str, path: Path, cache: Path, rows: int) -> dict[str, Any]:
    """Run one task in its own process; its figures."""
    command = [sys.executable, __file__, "--one", task, str(path), str(cache), str(rows)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(cache / "hf")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{task} at {rows:,} rows failed:\n{done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{task:<24} {rows:>9,} rows  {figures['seconds']:10.4f} s  {figures['peak'] / 2**20:8.0f} MiB", flush=True)
    return figures


def rows_table(figures: dict[tuple[str, int], dict[str, Any]], sizes: list[int]) -> list[str]:
    """The table of tasks by rows."""
    lines = ["| task | tool | " + " | ".join(f"{size:,} rows" for size in sizes) + " |"]
    lines.append("|---|---|" + "---:|" * len(sizes))
    titles = {
        "first": "first 50 rows",
        "ready": "random access ready",
        "jump": "jump to a row afterwards",
        "find": "find a text that is in the last row",
        "read": "read every row without checks",
        "check": "check, tokens not counted",
        "tokens": "check, tokens counted for the first time",
    }
    for task, title in titles.items():
        for name in TASKS:
            tool, _space, its = name.rpartition(" ")
            if its == task:
                cells = [_cell(figures.get((name, size))) for size in sizes]
                lines.append(f"| {title} | {tool} | " + " | ".join(cells) + " |")
    return lines


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "–"
    cpu = f" ({_seconds(figure['cpu'])} CPU)" if figure["cpu"] else ""
    return f"{_seconds(figure['seconds'])}{cpu}, {figure['peak'] / 2**20:,.0f} MiB"


def _seconds(value: float) -> str:
    return f"{value * 1000:.3g} ms" if value < 0.1 else f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def format_page(tables: list[str], quiet: bool) -> str:
    """The generated part of the page, markers included."""
    names = ("model-garden-tui", "datasets", "pyarrow", "pillow", "tokenizers", "transformers")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    cores = len(os.sched_getaffinity(0))
    when = datetime.datetime.now(datetime.UTC).date()
    load = "" if quiet else " Other processes were running: wall-clock times are upper bounds."
    head = f"{when}, {platform.machine()}, {cores} cores, Python {platform.python_version()}; {versions}.{load}"
    return "\n".join([BEGIN, "", head, "", *tables, "", END])


def main() -> None:
    """Run everything, or one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=SIZES[-1], help="skip larger sizes, and do not write the page")
    parser.add_argument("--tokens", type=int, default=10_000, help="count tokens up to this many rows")
    parser.add_argument("--images", type=int, default=100_000, help="image files of the last table")
    parser.add_argument("--one", nargs=4, metavar=("TASK", "FILE", "CACHE", "ROWS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        task, path, cache, rows = arguments.one
        run_task(task, Path(path), Path(cache), int(rows))
        return
    quiet = os.getloadavg()[0] < 0.5
    sizes = [size for size in SIZES if size <= arguments.most]
    figures: dict[tuple[str, int], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        for size in sizes:
            folder = Path(name) / str(size)
            folder.mkdir()
            path = write_dataset(folder / "data.jsonl", size)
            for task in TASKS:
                if task.endswith("tokens") and size > arguments.tokens:
                    continue
                # Tasks of one tool share its cache: `ready` fills it, `jump` and `find` use it.
                cache = folder / task.rpartition(" ")[0].replace(" ", "-")
                figures[task, size] = measure(task, path, cache, size)
            _remove(folder)
        images = _image_table(Path(name) / "images", min(arguments.images, arguments.most))
    tables = [*rows_table(figures, sizes), "", *images]
    print("\n".join(tables))
    if arguments.most == SIZES[-1]:
        _write_page(format_page(tables, quiet))


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)


def _image_table(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    path = write_dataset(folder / "data.jsonl", count, images=count)
    lines = [f"| {count:,} rows with an image file each | time | peak memory |", "|---|---:|---:|"]
    for title in ("headers read", "again, nothing changed"):
        figure = measure("Model Garden check", path, folder / "cache", count)
        lines.append(f"| {title} | {_cell(figure).replace(', ', ' | ')} |")
    return lines


def _write_page(block: str) -> None:
    text = DOCS.read_text(encoding="utf-8")
    start, end = text.index(BEGIN), text.index(END) + len(END)
    DOCS.write_text(text[:start] + block + text[end:], encoding="utf-8")
    print(f"written to {DOCS}")


if __name__ == "__main__":
    main()

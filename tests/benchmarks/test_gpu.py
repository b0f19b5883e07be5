"""The GPU benchmark: a failing task affects no other, results are written after every task, and a dry run works."""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

GPU = Path(__file__).parents[2] / "benchmarks" / "gpu"

# Pieces with a task for every outcome. They import no torch.
FAKE_PIECES = """
import os, signal, subprocess, sys, time
from pathlib import Path
from results import ResultsFile
from scheduler import PieceScheduler
from tasks import BenchmarkSetting, Piece, Task, TaskSkipped

def good(report, setting):
    report.put(value=1)
    report.add("items", {"number": 2})

def raising(report, setting):
    report.put(value="before")
    print("a line of the log")
    raise ValueError("deliberate")

def hanging(report, setting):
    report.put(value="before")
    child = subprocess.Popen(["sleep", "600"])
    (setting.scratch / "pids.new").write_text(f"{os.getpid()} {child.pid}")
    (setting.scratch / "pids.new").rename(setting.scratch / "pids")
    time.sleep(600)

def killed(report, setting):
    report.put(value="before")
    os.kill(os.getpid(), signal.SIGKILL)

def exiting(report, setting):
    os._exit(3)

def skipped(report, setting):
    raise TaskSkipped("needs CUDA")

TASKS = {task.__name__: Task(task.__name__, task) for task in (good, raising, hanging, killed, exiting, skipped)}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    out, seconds, *names = sys.argv[1:]
    results = ResultsFile(Path(out), {"dry_run": True, "date": "today", "model": "tiny", "minutes": 1.0})
    setting = BenchmarkSetting(True, "tiny", Path(out))
    pieces = [Piece(name, name.title(), 1.0, (TASKS[name],)) for name in names]
    PieceScheduler(results, setting, time.monotonic() + float(seconds)).run(pieces)
    sys.exit(0 if results.complete else 1)
"""


def start_fake(out: Path, seconds: float, *names: str) -> subprocess.Popen[str]:
    (out / "fake_pieces.py").write_text(FAKE_PIECES)
    command = [sys.executable, str(out / "fake_pieces.py"), str(out), str(seconds), *names]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(GPU)}, stderr=subprocess.PIPE, text=True)


def read_tasks(out: Path) -> dict[str, dict[str, Any]]:
    """Results by task."""
    content = json.loads((out / "gpu.json").read_text())
    return {name: task for piece in content["pieces"].values() for name, task in piece["tasks"].items()}


def running_processes(out: Path) -> list[int]:
    """The hanging task and its child, if they run."""
    deadline = time.monotonic() + 5  # a killed process ends when it is next scheduled
    while True:
        running = []
        for pid in map(int, (out / "pids").read_text().split()):
            with contextlib.suppress(psutil.NoSuchProcess):
                running += [pid] if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE else []
        if not running or time.monotonic() > deadline:
            return running
        time.sleep(0.05)


def test_a_failing_task_affects_no_other(tmp_path: Path) -> None:
    process = start_fake(tmp_path, 14, "good", "raising", "hanging", "killed", "exiting", "skipped")
    _, errors = process.communicate(timeout=60)
    tasks = read_tasks(tmp_path)
    assert process.returncode == 1, errors
    assert {name: task["status"] for name, task in tasks.items()} == {
        "good": "done",
        "raising": "failed",
        "hanging": "out of time",
        "killed": "killed",
        "exiting": "crashed",
        "skipped": "skipped",
    }
    assert tasks["good"]["values"] == {"value": 1, "items": [{"number": 2}]}
    assert all(tasks[name]["values"] == {"value": "before"} for name in ("raising", "hanging", "killed"))
    assert tasks["raising"]["why"] == "ValueError: deliberate"
    assert tasks["raising"]["log"][0] == "a line of the log" and "ValueError" in tasks["raising"]["log"][-1]
    assert "SIGKILL" in tasks["killed"]["why"] and "exit code 3" in tasks["exiting"]["why"]
    assert tasks["hanging"]["seconds"] < tasks["hanging"]["limit"] + 3
    report = (tmp_path / "gpu.md").read_text()
    assert "deliberate" in report and "- hanging: out of time" in report and "- skipped: skipped: needs CUDA" in report
    assert running_processes(tmp_path) == []


def test_results_are_written_when_it_is_interrupted(tmp_path: Path) -> None:
    process = start_fake(tmp_path, 300, "good", "hanging", "skipped")
    deadline = time.monotonic() + 30
    while not (tmp_path / "pids").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert read_tasks(tmp_path)["good"]["status"] == "done"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    tasks = read_tasks(tmp_path)
    assert (tasks["hanging"]["status"], tasks["hanging"]["values"]) == ("interrupted", {"value": "before"})
    assert "skipped" not in tasks
    assert running_processes(tmp_path) == []


def test_no_task_is_started_after_the_time_limit(tmp_path: Path) -> None:
    process = start_fake(tmp_path, 0, "good", "raising")
    process.communicate(timeout=30)
    assert process.returncode == 1
    assert {task["status"] for task in read_tasks(tmp_path).values()} == {"not started"}


@pytest.mark.timeout(900)
@pytest.mark.slow  # every piece for real, on the CPU
def test_a_dry_run(tmp_path: Path) -> None:
    command = [sys.executable, str(GPU / "quick.py"), "--dry-run", "--minutes", "14", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=880)
    tasks = read_tasks(tmp_path)
    assert done.returncode == 0, {name: task for name, task in tasks.items() if "log" in task}
    skipped = {name for name, task in tasks.items() if task["status"] == "skipped"}
    needs_cuda = {"NVML", "flex attention", "float16", "paged 8-bit AdamW", "compile flex attention for tiny"}
    assert skipped == needs_cuda
    values = {name: task["values"] for name, task in tasks.items()}
    for name, quantization in (("nf4", "nf4"), ("int8", "int8"), ("bfloat16", "none")):
        assert values[name]["decisions"]["quantization"] == quantization
    assert values["resume"]["identical"] and values["images as bytes"]["identical"]
    assert values["cached features"]["encoded_and_cached"] == [[2, 0], [0, 2]]
    assert values["out of memory"]["relaid"]
    for name in ("QLoRA nf4", "LoRA bfloat16"):
        cases = values[name]["cases"]
        assert [case["checkpointing"] for case in cases] == [True, False]
        for case in cases:
            assert case["loss_method"] == "at supervised positions" and 0 < case["loss"] < 20
            assert case["estimate"]["static"] < case["estimate"]["tensors"] < case["estimate"]["reserved"]
    five, peer = values["5 questions"], values["peer"]
    assert five["encoding"]["images_encoded"] > 0 == five["encoding"]["images_cached"]
    assert five["cached"]["images_cached"] > 0 == five["cached"]["images_encoded"]
    assert five["profile"]["names"] and five["profile"]["busy"] > 0
    assert values["1 question"]["encoding"]["samples_per_second"] > 0
    assert values["sharing off"]["encoding"]["laid_out"] > five["encoding"]["laid_out"]
    assert [batch["batch"] for batch in peer["five"]] == [5, 10] and peer["one"]["samples_per_second"] > 0
    (layout,) = values["attention"]["cases"]
    assert layout["flash by path"]["difference"] < 1e-5 and layout["full mask"]["difference"] < 1e-5
    assert layout["path_tokens"] > layout["laid_out"]
    ablations = [*values["ablations"]["ablations"], *values["fused LoRA"]["ablations"]]
    assert len(ablations) == 6
    for ablation in ablations:  # with or without the optimization, the loss is the same
        assert ablation["with"]["loss"] == pytest.approx(ablation["without"]["loss"], rel=1e-4)
    assert values["FSDP2"]["tiny"][0]["sharded_weights"] > 0
    methods = values["generation"]["methods"]
    assert values["generation"]["notices"] == []
    assert [method["identical_answers"] for method in methods] == [10, 10, 10]
    report = (tmp_path / "gpu.md").read_text()
    assert report.startswith("# A dry run: no figure here means anything")
    assert "cannot be formatted" not in report


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(GPU))
    yield importlib.import_module("report")
    for name in ("report", "report_tables"):
        sys.modules.pop(name)


def piece(title: str, tasks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A piece whose tasks are done, with these values."""
    entries = {name: {"status": "done", "seconds": 1.0, "values": values} for name, values in tasks.items()}
    return {"title": title, "limit": 9.0, "tasks": entries}


def content(**pieces: dict[str, Any]) -> dict[str, Any]:
    """The content of a results file."""
    machine = {"device": "A GPU", "datasheet_tflops": 1000.0, "packages": {"torch": "2"}}
    header = {"dry_run": False, "date": "today", "model": "3B", "minutes": 8.0}
    return {**header, "pieces": {"machine": piece("Machine", {"machine": machine}), **pieces}}


def test_the_report_compares_estimate_and_peak(report: ModuleType) -> None:
    gib = 2**30
    case = {
        "name": "448 px, 2,048 tokens",
        "laid_out": 2048,
        "seconds": 0.5,
        "peak": {"allocated": 8 * gib, "reserved": 9 * gib, "driver": 9.5 * gib},
        "estimate": {"tensors": 8.8 * gib, "reserved": 9.0 * gib, "device": 9.5 * gib, "step": 4 * gib},
    }
    text = report.format_report(content(estimates=piece("Memory", {"QLoRA nf4": {"cases": [case]}})))
    assert "| QLoRA nf4, 448 px, 2,048 tokens | 2,048 | 0.500 | 8.00 | 8.80 | +10.0% | 9.00 | 9.00 | +0.0% |" in text
    assert "allocated: the error of the estimate is +10.0% to +10.0%" in text
    assert "context and libraries: 512 to 512 MiB" in text
    assert "as a share of a step's own memory: 0.25 to" in text
    assert "Everything was done." in text


def test_the_report_compares_with_the_faster_batch_size_of_the_peer(report: ModuleType) -> None:
    def speed(samples: float, peak: float) -> dict[str, float]:
        return {
            "samples_per_second": samples,
            "tokens_per_second": 100.0,
            "tflops": 250.0,
            "peak": peak,
            "seconds": 1.0,
        }

    peer = {"program": "trl", "five": [{**speed(4, 9), "batch": 8}, {**speed(5, 10), "batch": 40}]}
    ours = {"encoding": speed(30, 8), "cached": speed(40, 7)}
    text = report.format_report(content(speed=piece("Speed", {"5 questions": ours, "peer": peer})))
    assert "5 questions per image: 6.00x the speed of trl (goal 5x), 0.80x its memory" in text
    assert "features cached: 8.00x the speed of trl (goal 7x), 0.70x its memory" in text
    assert "| 5 questions, images encoded | 30.0 | 100 | 250.0 | 25.0% |" in text


def test_an_incomplete_section_does_not_prevent_the_others(report: ModuleType) -> None:
    broken = piece("Ablations", {"ablations": {"ablations": [{"name": "without figures"}]}})
    text = report.format_report(content(ablations=broken, fsdp2=piece("FSDP2", {})))
    assert "This section cannot be formatted: KeyError" in text and "## FSDP2" in text

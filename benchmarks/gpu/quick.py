"""GPU measurements in eight minutes: `python benchmarks/gpu/quick.py --minutes 8 --out gpu-results`.

Each task runs in a process of its own with a time limit: one that crashes or hangs affects no other. `gpu.json` and
`gpu.md` are rewritten after every task. Weights are random and created on the device, images are synthetic, nothing is
downloaded. `--dry-run` runs all of it on a CPU with the tiny model, as a smoke test; its figures mean nothing.
"""

import argparse
import datetime
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import preload
from processes import SpawnCommand, TaskProcess, run_task, wait_for_messages
from results import ResultsFile
from scheduler import PieceScheduler
from tasks import BenchmarkSetting, Task, TaskReport

PIECES = ("nvml", "runs", "estimates", "speed", "attention", "ablations", "fsdp2", "generation")
QUERY, FORK, SPAWN = "query device", "fork", "spawn"


def main() -> int:
    """Run the selected pieces. Returns 0 if every task was done, or skipped with a reason; 1 if not; 2 without a CUDA
    device."""
    started = time.monotonic()
    arguments = _parse_arguments()
    if arguments.task is not None:
        _run_spawned_task(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    with tempfile.TemporaryDirectory(dir=arguments.scratch, ignore_cleanup_errors=True) as folder:
        size = "tiny" if arguments.dry_run else arguments.model
        setting = BenchmarkSetting(arguments.dry_run, size, Path(folder))
        preload.set_environment(setting.scratch)
        method, problem = _choose_start_method(setting, spawn=arguments.spawn)
        if problem is not None:
            print(f"no CUDA device can be used ({problem}); --dry-run needs none", file=sys.stderr)
            return 2
        import pieces

        results = ResultsFile(arguments.out, _header(arguments, setting, method))
        spawn_command = _spawn_command(setting) if method == SPAWN else None
        selected = [piece for piece in pieces.list_pieces(setting) if piece.key in ("machine", *arguments.pieces)]
        PieceScheduler(results, setting, started + 60 * arguments.minutes, spawn_command).run(selected)
    print((arguments.out / "gpu.md").read_text())
    return 0 if results.complete else 1


def _choose_start_method(setting: BenchmarkSetting, *, spawn: bool) -> tuple[str, str | None]:
    """How tasks are started, and why none can use the device, if so. A forked task has the libraries already; but an
    import that touches CUDA in the parent cannot be undone."""
    spawn_command = _spawn_command(setting) if spawn else None
    if not spawn:
        import torch  # noqa: F401 - for the children
    query = None if setting.dry else _run_alone(QUERY, preload.query_device, setting, spawn_command)
    if query is not None and query.status != "done":
        return "", query.why
    if spawn:
        return SPAWN, None
    preload.import_libraries(None if query is None else tuple(query.values["capability"]))
    check = None if setting.dry else _run_alone("check fork", preload.check_fork, setting, None)
    if check is None or check.status == "done":
        return FORK, None
    print(f"tasks are spawned, not forked: {check.why}", file=sys.stderr)
    return SPAWN, None


def _run_alone(
    name: str,
    run: Callable[[TaskReport, BenchmarkSetting], None],
    setting: BenchmarkSetting,
    spawn_command: SpawnCommand | None,
) -> TaskProcess:
    process = TaskProcess(Task(name, run), setting, 60.0, setting.scratch / f"{name}.log", spawn_command)
    while process.status is None:
        wait_for_messages([process])
    return process


def _spawn_command(setting: BenchmarkSetting) -> SpawnCommand:
    def command(task: str, pipe: int, seconds: float) -> Sequence[str]:
        options = ("--task", task, "--pipe", str(pipe), "--seconds", str(seconds), "--setting", setting.to_json())
        return (sys.executable, str(Path(__file__).absolute()), *options)

    return command


def _run_spawned_task(arguments: argparse.Namespace) -> NoReturn:
    setting = BenchmarkSetting.from_json(arguments.setting)
    preload.set_environment(setting.scratch)
    if arguments.task == QUERY:
        run_task(Task(QUERY, preload.query_device), setting, arguments.seconds, arguments.pipe)
    import pieces

    every = [task for piece in pieces.list_pieces(setting) for task in piece.tasks]
    task = next(task for task in every if task.name == arguments.task)
    run_task(task, setting, arguments.seconds, arguments.pipe)


def _header(arguments: argparse.Namespace, setting: BenchmarkSetting, method: str) -> dict[str, Any]:
    return {
        "format": 1,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "dry_run": setting.dry,
        "model": setting.size,
        "minutes": arguments.minutes,
        "start_method": method,
    }


def _interrupt(number: int, _frame: object) -> NoReturn:
    print(f"interrupted by signal {number}", file=sys.stderr, flush=True)
    raise SystemExit(130)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8, help="total time, imports included")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder for gpu.json and gpu.md")
    parser.add_argument("--dry-run", action="store_true", help="on a CPU with the tiny model; figures mean nothing")
    parser.add_argument("--pieces", nargs="+", choices=PIECES, default=PIECES, help="what to measure; default: all")
    parser.add_argument("--model", choices=("3B", "7B"), default="3B", help="size of the measured model")
    parser.add_argument("--spawn", action="store_true", help="start each task as a new interpreter, not as a fork")
    parser.add_argument("--scratch", type=Path, default=None, help="folder for temporary files")
    for name, kind in (("--task", str), ("--pipe", int), ("--seconds", float), ("--setting", str)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)  # of a spawned task
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())

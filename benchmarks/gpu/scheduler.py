"""Pieces in sequence within a total time. Imports no torch."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from processes import SpawnCommand, TaskProcess, wait_for_messages
from results import ResultsFile
from tasks import BenchmarkSetting, Piece, Task

LEAST_SECONDS = 2.0  # a task with less time is not started


class PieceScheduler:
    """Runs pieces until a deadline, by `time.monotonic`.

    Each piece gets its share of the time that is left: time that it does not use goes to the pieces after it, and it
    cannot take theirs.
    """

    def __init__(
        self,
        results: ResultsFile,
        setting: BenchmarkSetting,
        deadline: float,
        spawn_command: SpawnCommand | None = None,
    ):
        self.results = results
        self.setting = setting
        self.deadline = deadline
        self.spawn_command = spawn_command
        self._running: list[TaskProcess] = []

    def run(self, pieces: Sequence[Piece]) -> None:
        """Run all pieces in order. If it is interrupted, tasks are killed and the results are written."""
        try:
            for number, piece in enumerate(pieces):
                share = piece.seconds / sum(following.seconds for following in pieces[number:])
                self._run_piece(piece, share * (self.deadline - time.monotonic()))
        finally:
            for process in self._running:
                process.kill("interrupted", "the benchmark was interrupted")
                self._store(process)
            self.results.write()

    def _run_piece(self, piece: Piece, seconds: float) -> None:
        deadline = time.monotonic() + max(seconds, 0.0)
        self._tasks = self.results.add_piece(piece.key, piece.title, seconds)
        waiting = list(piece.tasks)
        while waiting or self._running:
            while waiting and len(self._running) < piece.parallel:
                task = waiting.pop(0)
                limit = deadline - time.monotonic()
                if piece.parallel == 1:
                    limit *= task.weight / sum(following.weight for following in (task, *waiting))
                self._start(task, limit, piece)
            if self._running:
                wait_for_messages(self._running)
            for process in [process for process in self._running if process.status is not None]:
                self._running.remove(process)
                self._store(process)
        self.results.write()

    def _start(self, task: Task, limit: float, piece: Piece) -> None:
        if limit < LEAST_SECONDS:
            self._tasks[task.name] = {"status": "not started", "why": "no time was left", "values": {}}
            return
        _print(f"{piece.key}: {task.name} (at most {limit:.0f} s) ...")
        name = "".join(character if character.isalnum() else "-" for character in task.name)
        log = self.setting.scratch / f"{piece.key}-{name}.log"
        self._running.append(TaskProcess(task, self.setting, limit, log, self.spawn_command))

    def _store(self, process: TaskProcess) -> None:
        result: dict[str, Any] = process.result()
        self._tasks[process.task.name] = result
        reason = f"; {process.why}" if process.why else ""
        _print(f"  {process.task.name}: {result['status']} in {result['seconds']} s{reason}")
        self.results.write()


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

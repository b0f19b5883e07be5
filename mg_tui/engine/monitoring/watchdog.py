"""Warnings about a run as a whole: signs of a problem that are not errors.

A loss of exactly zero for several steps, a host process whose memory keeps growing, and a step that does not end
(a stall). Stalls are detected by a thread: it writes the stack of every thread to the log and the journal, once per
stall, and does not end the run, since a slow disk or network may recover.
"""

import faulthandler
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.text import format_gib
from mg_tui.runs.journal import JournalWriter

ZERO_LOSS_STEPS: Final = 5  # steps in a row with a loss of exactly zero
MEMORY_BASELINE_STEPS: Final = 20  # steps after which memory should not grow any more
MEMORY_GROWTH: Final = 1.5  # times the baseline, and
MEMORY_GROWTH_BYTES: Final = 1 << 30  # at least this much more
MIN_STALL_SECONDS: Final = 300.0  # seconds; the shortest stall
STALL_FACTOR: Final = 20.0  # times the median step
_MAX_STACK_CHARS: Final = 16_000  # characters of the stacks in the journal; the log has all of them


class Watchdog:
    """Is informed of every step. A context manager: its thread runs within the block.

    Args:
        journal: receives the warnings, from the thread too.
        patience: seconds without a step before a stall is reported, at least.
        clock: seconds.
    """

    def __init__(
        self,
        journal: JournalWriter,
        *,
        patience: float = MIN_STALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._journal = journal
        self._patience = patience
        self._clock = clock
        self._zero_losses = 0
        self._memory: deque[int] = deque(maxlen=MEMORY_BASELINE_STEPS)
        self._baseline: float | None = None
        self._step_seconds: deque[float] = deque(maxlen=50)
        self._since: float | None = None  # start of the current wait; None while paused
        self._reported = False
        self._step = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Watchdog":
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> "Watchdog":
        """Start the thread, unless it runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def step(self, step: int, *, loss: float, seconds: float, host_memory: int | None) -> None:
        """Record a finished step. `seconds` is its duration, `host_memory` the bytes of this process."""
        self._step = step
        self._step_seconds.append(seconds)
        self.report_progress()
        self._check_loss(step, loss)
        if host_memory is not None:
            self._check_memory(step, host_memory)

    def report_progress(self) -> None:
        """Record progress: the time to a stall starts again."""
        self._since, self._reported = self._clock(), False

    def pause(self) -> None:
        """Detect no stall until the next `report_progress`: an evaluation or a checkpoint may take long."""
        self._since = None

    @property
    def stall_limit(self) -> float:
        """Seconds without a step before a stall is reported."""
        return (
            max(self._patience, STALL_FACTOR * statistics.median(self._step_seconds))
            if self._step_seconds
            else self._patience
        )

    def check_stall(self) -> bool:
        """Whether the run has stalled; reports it once."""
        since = self._since
        if since is None or self._reported or self._clock() - since < self.stall_limit:
            return False
        self._reported = True
        self._report_stall(self._clock() - since)
        return True

    def _watch(self) -> None:
        while not self._ended.wait(min(self._patience / 10, 5.0)):
            try:
                self.check_stall()
            except (OSError, ValueError, EnvironmentProblem) as error:  # no journal: the run goes first
                sys.stderr.write(f"watchdog: {error}\n")

    def _report_stall(self, seconds: float) -> None:
        stack = dump_stacks()
        sys.stderr.write(f"no step for {seconds:.0f} seconds; stack of every thread:\n{stack}\n")
        sys.stderr.flush()
        self._warn(
            f"no step has been done for {seconds:.0f} seconds",
            where=_main_thread_location(),
            why=f"after step {self._step}; usually a disk or a network that does not answer, or a device that hangs",
            hint="the log has the stack of every thread; end the run with `runs stop --now`, then `runs resume`",
            stack=stack[:_MAX_STACK_CHARS],
        )

    def _check_loss(self, step: int, loss: float) -> None:
        self._zero_losses = self._zero_losses + 1 if loss == 0.0 else 0
        if self._zero_losses == ZERO_LOSS_STEPS:
            self._warn(
                f"the loss has been exactly zero for {ZERO_LOSS_STEPS} steps",
                where=f"steps {step - ZERO_LOSS_STEPS + 1} to {step}",
                why="a loss of zero has no gradient: usually the weights overflowed, or every answer is "
                "already memorized",
                hint="look at the samples; use bfloat16 or float32 where it was float16",
            )

    def _check_memory(self, step: int, memory: int) -> None:
        if self._baseline is None:
            self._memory.append(memory)
            if len(self._memory) == MEMORY_BASELINE_STEPS:
                self._baseline = statistics.median(self._memory)
            return
        if memory > max(self._baseline * MEMORY_GROWTH, self._baseline + MEMORY_GROWTH_BYTES):
            self._warn(
                f"the training process has grown from {format_gib(self._baseline)} to {format_gib(memory)} of memory",
                where=f"step {step}",
                why="memory is not released; when the machine runs out of it, the run is killed",
                hint="the run can be resumed from its newest checkpoint, with fresh memory; lower save_steps",
            )
            self._baseline = float(memory)  # warned again after the same growth

    def _warn(self, what: str, **more: Any) -> None:
        self._journal.write("warning", what=what, **more)


def dump_stacks() -> str:
    """The stack of every thread of this process, as text."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read().decode("utf-8", "replace")


def _main_thread_location() -> str | None:
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return None if frame is None else f"{frame.f_code.co_name} ({frame.f_code.co_filename}, line {frame.f_lineno})"

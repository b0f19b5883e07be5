"""How a worker is stopped: signals and control requests.

Signals (SIGTERM, SIGINT) and requests in `control/` have the same effect. The first stop request asks for a checkpoint
and an orderly end; a second one, or `stop_now`, for an end without a checkpoint. During training the engine polls
between forward passes, so that no step is ever half applied. Before training there is nothing to save and loading can
take minutes, so a stop interrupts loading at once.

There are two ways in (`_on_signal`; `_watch`, a thread that reads the control folder) and one way out, `poll`.
"""

import contextlib
import queue
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Literal

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.runs.control import ControlInbox, ControlRequest
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.heartbeat import HEARTBEAT_SECONDS
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock

_POLL_SECONDS = 0.25  # seconds between two reads of the control folder
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Sent by the watcher thread when a request arrives while the main thread is loading. A real signal, since that also
# interrupts waiting for a disk or a network.
_WAKE_SIGNAL = signal.SIGUSR1


class StopRequested(BaseException):  # not an Exception: an `except Exception` of a library must not swallow it
    """The run ends because a stop was requested, by `by`."""

    def __init__(self, by: str):
        super().__init__(by)
        self.by = by


def folder_gone_error(folder: RunFolder) -> EnvironmentProblem:
    """The error of a worker whose folder was moved, removed or replaced: nothing is written in its old place.

    Its journal is still open, so that the error is found in a folder that was moved.
    """
    return EnvironmentProblem(
        f"The folder of this {folder.noun} was moved or removed.",
        where=str(folder.path),
        why=f"it was there when the {folder.noun} started",
        hint=f"resume it where it is now: `model-garden {folder.command} resume FOLDER`",
    )


class StopHandler:
    """Collects the requests to a worker; a context manager that installs the signal handlers.

    With `lock`, the run's, it shows that the worker responds, and ends it when the run's folder is no longer there.
    Signals that follow each other within `merge` seconds count as one: a rank gets those that its supervisor passes on,
    and those that a container or a cluster sends to every process.

    Attributes:
        stop_by: who requested a stop, or None.
        stop_now: whether to stop without a checkpoint.
        signal_at: when SIGTERM arrived, in monotonic seconds; None when the stop was requested otherwise.
        checkpoint_seconds: from the request of a stop to a whole checkpoint; None before there is one.
    """

    def __init__(self, folder: RunFolder, journal: JournalWriter, lock: RunLock | None = None, *, merge: float = 0.0):
        self._merge_seconds, self._last_signal = merge, -merge
        self.stop_by: str | None = None
        self.stop_now = False
        self.signal_at: float | None = None
        self.checkpoint_seconds: float | None = None
        self._stop_at: float | None = None
        self._folder = folder
        self._journal = journal
        self._lock = lock
        self._inbox = ControlInbox(folder)
        self._received: queue.SimpleQueue[ControlRequest] = queue.SimpleQueue()
        self._checkpoint_requested = False
        self._interruptible = False
        self._interrupted = False
        self._before: dict[signal.Signals, Any] = {}
        self._ended = threading.Event()
        self._stop_arrived = threading.Event()  # a stop was received, and perhaps not accepted yet
        self._watcher = threading.Thread(target=self._watch, name="control", daemon=True)

    def __enter__(self) -> "StopHandler":
        handlers = dict.fromkeys(_SIGNALS, self._on_signal) | {_WAKE_SIGNAL: self._on_wake}
        self._before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._watcher.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._watcher.join()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within this block a stop raises `StopRequested` wherever the main thread is: do not write the journal in it.

        C code may swallow an exception raised in it and fail later: torch initializes numpy from C, and initializing
        numpy twice is an ImportError. Any error after an interruption is therefore taken for the stop.

        Raises:
            StopRequested: also on entry and on exit, when a stop was requested before.
        """
        self._allow_interruptions()
        try:
            yield
        except Exception as error:
            if self._interrupted:
                raise StopRequested(self.stop_by or "a request") from error
            raise
        finally:
            self._interruptible = False
        self.poll(raise_on="stop")

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """A block within `interruptible` that a stop does not interrupt: one that writes the journal.

        Raises:
            StopRequested: after the block, when a stop was requested meanwhile.
        """
        self._interruptible = False
        yield
        self._allow_interruptions()

    def _allow_interruptions(self) -> None:
        self.poll(raise_on="stop")
        self._interruptible = True
        if self._stop_arrived.is_set() or self.stop_by is not None:  # since the poll, when nothing was interruptible
            self._interruptible = False
            self.poll(raise_on="stop")

    def poll(self, *, raise_on: Literal["stop", "stop_now", "never"] = "stop_now") -> None:
        """Write the requests that have arrived to the journal, and act on them.

        Args:
            raise_on: "stop" raises on any stop request, "stop_now" only when no checkpoint is wanted.

        Raises:
            StopRequested: see `raise_on`.
            EnvironmentProblem: the run's folder was moved or removed; not with "never".
        """
        if raise_on != "never" and self._lock is not None and not self._lock.in_place:
            raise folder_gone_error(self._folder)
        with contextlib.suppress(queue.Empty):
            while True:
                self._accept(self._received.get_nowait())
        if self.stop_by is not None and (raise_on == "stop" or (raise_on == "stop_now" and self.stop_now)):
            raise StopRequested(self.stop_by)

    def pop_checkpoint_request(self) -> bool:
        """Whether a checkpoint was requested since the last call."""
        requested, self._checkpoint_requested = self._checkpoint_requested, False
        return requested

    def stop_for_budget(self, spent: str) -> None:
        """Request a stop, with a checkpoint, because the run has cost what it may."""
        if self.stop_by is None:
            self._journal.write("decision", what="stop", value="max_cost", why=f"the run has cost {spent}")
            self._request_stop(f"max_cost ({spent})", now=False)

    def stop_for_pause(self, by: str) -> None:
        """Stop, as `by` asked for it before the run started; the checkpoint is written."""
        if self.stop_by is None:
            self._request_stop(by, now=False)

    def note_checkpoint(self) -> None:
        """A checkpoint is whole that a stopped run can be resumed from."""
        if self._stop_at is not None and self.checkpoint_seconds is None:
            self.checkpoint_seconds = round(time.monotonic() - self._stop_at, 3)

    def _accept(self, request: ControlRequest) -> None:
        self._journal.write("request", request=request.request, by=request.by)
        if request.request == "checkpoint":
            self._checkpoint_requested = True
        else:
            self._request_stop(request.by, now=request.request == "stop_now")

    def _request_stop(self, by: str, *, now: bool) -> None:
        self.stop_now = self.stop_now or now or self.stop_by is not None
        self.stop_by = self.stop_by or by
        self._stop_at = self._stop_at or time.monotonic()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now, before = time.monotonic(), self._last_signal
        self._last_signal = now
        if now - before < self._merge_seconds:
            return
        if number == signal.SIGTERM:
            self.signal_at = self.signal_at or time.monotonic()
        self._request_stop(f"signal {signal.Signals(number).name}", now=False)
        self._on_wake(number, frame)

    def _on_wake(self, _number: int, _frame: FrameType | None) -> None:
        # Anybody may send this signal; only with a request of a stop does it mean one.
        if self._interruptible and (self.stop_by is not None or self._stop_arrived.is_set()):
            self._interruptible = False
            self._interrupted = True
            raise StopRequested(self.stop_by or "a request")

    def _watch(self) -> None:
        next_beat = 0.0
        while not self._ended.wait(_POLL_SECONDS):
            if self._lock is not None and time.monotonic() >= next_beat:
                self._lock.beat()
                next_beat = time.monotonic() + HEARTBEAT_SECONDS
            for request in self._inbox.take():
                self._received.put(request)
                if request.request != "checkpoint":
                    self._stop_arrived.set()
                if self._interruptible and request.request != "checkpoint":
                    signal.pthread_kill(threading.main_thread().ident or 0, _WAKE_SIGNAL)


class SilentStopHandler(StopHandler):
    """That of a rank which does not lead: rank 0 is asked to stop, and the others follow it."""

    def __enter__(self) -> "SilentStopHandler":
        for number in (*_SIGNALS, _WAKE_SIGNAL, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

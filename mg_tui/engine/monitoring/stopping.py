"""How a worker is asked to end, and when it listens.

Signals (SIGTERM, SIGINT) and requests in `control/` come to the same thing. The first asks for a checkpoint and an
orderly end; a second, or `stop_now`, for an end without a checkpoint. While training, the engine looks between forward
passes, so that no step is ever half applied. Before training there is nothing to save and loading can take minutes, so
there a stop interrupts at once.
"""

import contextlib
import queue
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from mg_tui.runs.control import ControlInbox, ControlRequest
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter

_POLL_SECONDS = 0.25  # seconds between looks into the control folder
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# The watcher's: a request came while the main thread is busy loading. A real signal, since that also ends its waiting
# for a disk or a network.
_WAKE_SIGNAL = signal.SIGUSR1


class StopRequested(BaseException):  # no error: an `except Exception` of a library must not swallow it
    """The run ends because somebody asked. `by` says who."""

    def __init__(self, by: str):
        super().__init__(by)
        self.by = by


class StopHandler:
    """Collects what is asked of the worker; a context manager that holds the signal handlers meanwhile.

    Attributes:
        stop_by: who asked for an orderly end, or None.
        now: whether the end is to come without a checkpoint.
    """

    def __init__(self, folder: RunFolder, journal: JournalWriter):
        self.stop_by: str | None = None
        self.stop_now = False
        self._journal = journal
        self._inbox = ControlInbox(folder)
        self._received: queue.SimpleQueue[ControlRequest] = queue.SimpleQueue()
        self._checkpoint_requested = False
        self._interruptible = False
        self._interrupted = False
        self._before: dict[signal.Signals, Any] = {}
        self._ended = threading.Event()
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
        """Within this block a stop raises `StopRequested` wherever the main thread is: write no journal in it.

        Code in C may swallow what is raised in it, and break later for want of what it was doing: torch begins numpy
        from C, and a numpy begun twice is an ImportError. Any error after an interruption is therefore the stop.

        Raises:
            Stopped: also on entry and on leaving, when a stop was asked for already.
        """
        self.raise_if_stopped()
        self._interruptible = True
        try:
            yield
        except Exception as error:
            if self._interrupted:
                raise StopRequested(self.stop_by or "a request") from error
            raise
        finally:
            self._interruptible = False
        self.raise_if_stopped()

    def raise_if_stopped(self) -> None:
        """Look for requests; raise `StopRequested` when an end was asked for."""
        self.poll()
        if self.stop_by is not None:
            raise StopRequested(self.stop_by)

    def journal_requests(self) -> None:
        """Write the requests that came into the journal, and remember them."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._handle(self._received.get_nowait())

    def poll(self) -> None:
        """Acknowledge what came. Raises `StopRequested` only when the end is to come without a checkpoint."""
        self.journal_requests()
        if self.stop_now and self.stop_by is not None:
            raise StopRequested(self.stop_by)

    def pop_checkpoint_request(self) -> bool:
        """Whether a checkpoint was asked for since the last call."""
        asked, self._checkpoint_requested = self._checkpoint_requested, False
        return asked

    def _handle(self, request: ControlRequest) -> None:
        self._journal.write("request", request=request.request, by=request.by)
        if request.request == "checkpoint":
            self._checkpoint_requested = True
        else:
            self._request_stop(request.by, now=request.request == "stop_now")

    def _request_stop(self, by: str, *, now: bool) -> None:
        self.stop_now = self.stop_now or now or self.stop_by is not None
        self.stop_by = self.stop_by or by

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._request_stop(f"signal {signal.Signals(number).name}", now=False)
        self._on_wake(number, frame)

    def _on_wake(self, _number: int, _frame: FrameType | None) -> None:
        if self._interruptible:
            self._interruptible = False
            self._interrupted = True
            raise StopRequested(self.stop_by or "a request")

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            for request in self._inbox.take():
                self._received.put(request)
                if self._interruptible and request.request != "checkpoint":
                    signal.pthread_kill(threading.main_thread().ident or 0, _WAKE_SIGNAL)

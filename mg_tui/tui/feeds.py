"""Threads that read and post messages: journals, logs and devices never block the interface.

Each feed is a daemon thread with a period. It reads, and posts a message when something changed; the handler of the
message owns the state of the screen. A slow disk or a driver that hangs delays its own feed and nothing else, not even
quitting. A problem is posted once, not once per period.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.core.errors import describe_exception
from mg_tui.tui.posting import post

if TYPE_CHECKING:
    from mg_tui.doctor.findings import MachineFinding
    from mg_tui.hardware.sampler import DeviceSampler
    from mg_tui.hardware.types import DeviceSnapshot
    from mg_tui.runs.elsewhere import Elsewhere


class DevicesUpdated(Message):
    """A sample of the devices and the host."""

    def __init__(self, snapshot: "DeviceSnapshot") -> None:
        super().__init__()
        self.snapshot = snapshot


class DevicesUnknown(Message):
    """Nothing is known of the devices now: the server whose they are does not answer."""


class MachineExamined(Message):
    """What the doctor found."""

    def __init__(self, findings: "Sequence[MachineFinding]") -> None:
        super().__init__()
        self.findings = findings


class FeedFailed(Message):
    """A feed cannot read `subject`; it keeps trying. An empty `why`: it can read again."""

    def __init__(self, subject: str, why: str) -> None:
        super().__init__()
        self.subject = subject
        self.why = why


class Feed(threading.Thread):
    """Reads every `seconds`; paused while its screen is not visible."""

    subject = "the run"

    def __init__(self, target: MessagePump, seconds: float) -> None:
        super().__init__(daemon=True, name=type(self).__name__)
        self._target = target
        self._period = seconds
        self._wake = threading.Event()
        self._stopped = False
        self._paused = False
        self._problem = ""

    def read(self) -> Message | None:
        """The message to post, or None. Runs in the thread; owns everything it uses."""
        raise NotImplementedError

    def pause(self) -> None:
        """Stop reading until resumed."""
        self._paused = True

    def resume(self) -> None:
        """Read now and continue."""
        self._paused = False
        self._wake.set()

    def set_period(self, seconds: float) -> None:
        """Change the period."""
        self._period = seconds
        self._wake.set()

    def stop(self) -> None:
        """Let the thread finish; does not wait for it."""
        self._stopped = True
        self._wake.set()

    def run(self) -> None:
        while not self._stopped:
            if not self._paused:
                self._poll()
            self._wake.wait(None if self._paused else self._period)
            self._wake.clear()

    def _poll(self) -> None:
        try:
            message = self.read()
        except Exception as error:  # whatever a disk or a driver does, the dashboard shows it and goes on
            why = describe_exception(error)
            if why != self._problem:
                self._problem = why
                self._post(FeedFailed(self.subject, why))
            return
        if self._problem:
            self._problem = ""
            self._post(FeedFailed(self.subject, ""))
        if message is not None:
            self._post(message)

    def _post(self, message: Message) -> None:
        if not post(self._target, message):
            self._stopped = True


class DeviceFeed(Feed):
    """Devices and host."""

    subject = "the devices"

    def __init__(
        self,
        target: MessagePump,
        seconds: float,
        run_pids: Callable[[], Mapping[int, str]],
        elsewhere: "Elsewhere | None" = None,
    ) -> None:
        """
        Args:
            target: the screen that is posted to.
            seconds: between two samples.
            run_pids: returns the run ids of running workers by process id; called in the thread.
            elsewhere: whose devices these are; by default this machine's.
        """
        super().__init__(target, seconds)
        self._run_pids, self._elsewhere = run_pids, elsewhere
        self._sampler: DeviceSampler | None = None

    def read(self) -> Message | None:
        if self._elsewhere is not None:
            sample = self._elsewhere.sample_devices()
            return DevicesUnknown() if sample is None else DevicesUpdated(sample)
        if self._sampler is None:
            from mg_tui.hardware.sampler import DeviceSampler

            self._sampler = DeviceSampler(self._run_pids)
        return DevicesUpdated(self._sampler.sample())


class MachineExaminer(threading.Thread):
    """Runs the checks of `model-garden doctor` once and posts what they found."""

    def __init__(self, target: MessagePump, home: Path, cache: Path) -> None:
        super().__init__(daemon=True, name="MachineExaminer")
        self._target, self._home, self._cache = target, home, cache

    def run(self) -> None:
        from mg_tui.doctor.examination import examine_machine

        post(self._target, MachineExamined(examine_machine(self._home, self._cache)))

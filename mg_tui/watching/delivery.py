"""Delivers messages: each channel in order, with a growing pause after a failure, and never fatal."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from mg_tui.core.errors import GardenError
from mg_tui.core.text import one_line
from mg_tui.watching.channels import DeliveryFailed, MessageChannel, open_channel
from mg_tui.watching.messages import RunMessage
from mg_tui.watching.watch_state import WatchState

FIRST_PAUSE: Final = 5.0  # seconds after the first failure; doubled after each
LONGEST_PAUSE: Final = 300.0
GIVE_UP_SECONDS: Final = 24 * 3600.0  # after which a message is old news
GIVE_UP_REFUSED_SECONDS: Final = 2 * 3600.0  # where the server answers that the address is wrong


class Deliverer:
    """Sends what is in the outbox of one run's state, in a thread of its own between `start` and `stop`.

    Args:
        urls: addresses, by label.
        state: of the run; has the outbox.
        first_pause: seconds after a first failure.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        urls: Mapping[str, str],
        state: WatchState,
        *,
        first_pause: float = FIRST_PAUSE,
        clock: Callable[[], float] = time.time,
    ):
        self._state, self._first_pause, self._clock = state, first_pause, clock
        self._channels: dict[str, MessageChannel] = {}
        for label, url in urls.items():
            try:
                self._channels[label] = open_channel(url, label)
            except GardenError as error:  # apprise was there when the run was created
                state.channels.setdefault(label, {})["problem"] = error.what
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, patience: float = 20.0) -> None:
        """Let the message that is being sent arrive, and end the thread."""
        self._stopped = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(patience)

    def wake(self) -> None:
        """Look at the outbox now."""
        self._wake.set()

    def test(self, message: RunMessage) -> dict[str, str]:
        """Send a message to every channel once; returns the problems, by label."""
        problems = {}
        for label, channel in self._channels.items():
            try:
                channel.send(message)
            except DeliveryFailed as error:
                problems[label] = error.why
        return problems

    def deliver_due(self) -> None:
        """Send every message that is due."""
        for label, channel in self._channels.items():
            while not self._stopped and (entry := self._state.first_due(label, self._clock())) is not None:
                if not self._deliver(channel, entry):
                    break

    def _deliver(self, channel: MessageChannel, entry: dict[str, Any]) -> bool:
        try:
            channel.send(RunMessage(**entry["message"]))
        except DeliveryFailed as error:
            age = self._clock() - float(entry["message"].get("t", 0.0))
            if age > (GIVE_UP_REFUSED_SECONDS if error.refused else GIVE_UP_SECONDS):
                self._state.drop(entry)
                return True
            pause = min(self._first_pause * 2.0 ** int(entry.get("tries", 0)), LONGEST_PAUSE)
            self._state.postpone(entry, self._clock() + max(pause, min(error.retry_after or 0.0, 3600.0)), error.why)
            return False
        except TypeError as error:  # a state that was written by another version
            self._state.channels.setdefault(entry["channel"], {})["problem"] = one_line(str(error), limit=200)
            self._state.drop(entry)
            return True
        self._state.delivered(entry)
        return True

    def _run(self) -> None:
        while not self._stopped:
            self.deliver_due()
            self._wake.wait(min(self._first_pause, 1.0))
            self._wake.clear()

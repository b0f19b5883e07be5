"""The end of a dashboard whose terminal is gone, however it went.

A hang-up usually comes as a signal. It may not: a process need not have a controlling terminal. And the signal may come
too late: with nobody to read, the output is stuck, and what is stuck does not get to handle signals, while the thread
that reads keys spins. So a thread of its own looks whether the terminal still is one, gives the orderly way a little
time, and then ends the process. A dashboard only reads, so there is nothing to lose.
"""

import os
import select
import signal
import threading
import time
from typing import Final

HANGUP_EXIT_CODE: Final = 128 + signal.SIGHUP  # as a shell reports it
_POLL_SECONDS: Final = 1.0  # seconds between looks
_GRACE_SECONDS: Final = 3.0  # seconds for the orderly way


def exit_on_hangup(
    descriptor: int = 0, *, look: float = _POLL_SECONDS, patience: float = _GRACE_SECONDS
) -> threading.Thread:
    """Watch the terminal at a file descriptor from a daemon thread; when it hangs up, the process ends."""

    def watch() -> None:
        while not is_hung_up(descriptor):
            time.sleep(look)
        time.sleep(patience)
        os._exit(HANGUP_EXIT_CODE)

    thread = threading.Thread(target=watch, name="hang-up", daemon=True)
    thread.start()
    return thread


def is_hung_up(descriptor: int) -> bool:
    """Whether the other end of a terminal was closed. Takes nothing from it."""
    poll = select.poll()
    poll.register(descriptor, 0)  # hang-up and error are reported unasked
    return any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))

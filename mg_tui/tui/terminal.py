"""The terminal of the dashboard: whether it is remote, and the end of a dashboard whose terminal is gone.

A hang-up usually arrives as a signal. It may not: a process need not have a controlling terminal. And the signal may
come too late: when nobody reads the terminal, output blocks, and a blocked process does not handle signals, while the
thread that reads keys spins. So a daemon thread polls the terminal, gives the orderly exit a little time, and then ends
the process. A dashboard only reads, so there is nothing to lose.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Mapping
from typing import Final

HANGUP_EXIT_CODE: Final = 128 + signal.SIGHUP  # as a shell reports it
_POLL_SECONDS: Final = 1.0
_GRACE_SECONDS: Final = 3.0  # for the orderly exit


def is_over_ssh(environ: Mapping[str, str]) -> bool:
    """Whether the terminal is at the other end of a network."""
    return any(environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"))


def exit_on_hangup(
    descriptor: int = 0, *, poll_seconds: float = _POLL_SECONDS, grace_seconds: float = _GRACE_SECONDS
) -> threading.Thread:
    """Poll the terminal at a file descriptor from a daemon thread; when it hangs up, end the process."""

    def watch() -> None:
        while not is_hung_up(descriptor):
            time.sleep(poll_seconds)
        time.sleep(grace_seconds)
        os._exit(HANGUP_EXIT_CODE)

    thread = threading.Thread(target=watch, name="hang-up", daemon=True)
    thread.start()
    return thread


def is_hung_up(descriptor: int) -> bool:
    """Whether the other end of a terminal was closed. Reads nothing from it."""
    poll = select.poll()
    poll.register(descriptor, 0)  # hang-up and error are reported without being asked for
    return any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))

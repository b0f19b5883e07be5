"""Whether a server answers, in words."""

import time
from dataclasses import dataclass

from mg_tui.core.text import one_line


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """How it stands with a server.

    Attributes:
        address: its URL.
        connected: whether it was heard of lately.
        since: when that became so, Unix time in seconds.
        last_seen: when it was last heard of.
        why: why it is not heard of.
        retry_at: when it is tried again.
        behind: runs whose copies are not complete yet.
    """

    address: str
    connected: bool
    since: float
    last_seen: float | None = None
    why: str = ""
    retry_at: float | None = None
    behind: int = 0

    def describe(self, now: float) -> str:
        """One line."""
        if self.connected:
            waits = f", reading {self.behind:,} runs" if self.behind > 1 else ""
            return f"{self.address} · connected{waits}"
        seen = f", last seen {_clock(self.last_seen)}" if self.last_seen is not None else ""
        again = "" if self.retry_at is None else f", again in {max(self.retry_at - now, 0):.0f} s"
        return one_line(f"not connected since {_clock(self.since)}{seen}{again} · {self.address}: {self.why}")


def _clock(t: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(t))

"""How much of the server one caller, and all callers together, may use."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from mg_tui.gate.refusals import Refusal

_MAX_KEYS: Final = 4096  # callers whose rate is remembered


@dataclass(frozen=True, slots=True)
class GateLimits:
    """The limits of a server; defaults for one machine and a few people.

    Attributes:
        requests_per_second, burst: the rate of one caller, and how many requests may come at once.
        failures_per_second, failure_burst: of requests without a valid token, by address.
        requests_at_once, requests_at_once_per_caller: requests under way, followers aside.
        followers, followers_per_caller: streams that last.
        max_body: bytes of a body.
        bodies: bytes of the bodies of all requests under way, together.
        body_seconds: the time that a body may take.
        head_seconds: the time that request line and headers may take, from the connection's beginning.
        head_bytes: their size.
        stall_seconds: how long an answer may wait for a reader that does not read.
        connections: open connections.
    """

    requests_per_second: float = 50.0
    burst: int = 300
    failures_per_second: float = 2.0
    failure_burst: int = 60
    requests_at_once: int = 64
    requests_at_once_per_caller: int = 32
    followers: int = 512
    followers_per_caller: int = 256
    max_body: int = 1 << 20
    bodies: int = 1 << 30
    body_seconds: float = 20.0
    head_seconds: float = 10.0
    head_bytes: int = 16 << 10
    stall_seconds: float = 30.0
    connections: int = 1024


class RateLimit:
    """A bucket of permits per key that fills at a steady rate."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic):
        self._rate, self._burst, self._clock = per_second, float(burst), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_for(self, key: str) -> float:
        """Take a permit of `key` and return 0, or the seconds until there is one."""
        now = self._clock()
        permits, then = self._buckets.pop(key, (self._burst, now))
        permits = min(self._burst, permits + (now - then) * self._rate)
        taken = permits >= 1.0
        self._buckets[key] = (permits - 1.0 if taken else permits, now)
        while len(self._buckets) > _MAX_KEYS:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1.0 - permits) / self._rate


class Slots:
    """A number of places for all callers and for each; `taken` holds one."""

    def __init__(self, total: int, each: int, what: str):
        self._total, self._each, self._what = total, each, what
        self._taken: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Places that are taken."""
        return self._taken.total()

    @contextmanager
    def taken(self, key: str) -> Iterator[None]:
        """Hold a place.

        Raises:
            Refusal: there is none (429).
        """
        if self._taken[key] >= self._each or self._taken.total() >= self._total:
            whose = "of this token" if self._taken[key] >= self._each else "on this server"
            raise Refusal(429, f"too-many-{self._what}", f"Too many {self._what} {whose}.", {"Retry-After": "2"})
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]


class BodyBudget:
    """The bytes that the bodies of all requests under way may have: each may be long, and not all at once."""

    def __init__(self, total: int):
        self._total = total
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes of requests under way."""
        return self._held

    def hold(self, size: int) -> None:
        """Count the next part of a body.

        Raises:
            Refusal: there are too many bytes under way (429). The part is not counted then.
        """
        if self._held + size > self._total:
            raise Refusal(429, "too-many-bytes", "Too many long bodies at once on this server.", {"Retry-After": "2"})
        self._held += size

    def give_back(self, size: int) -> None:
        """The request of so many bytes has ended."""
        self._held -= size

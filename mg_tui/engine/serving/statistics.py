"""Counts and times of a server: for Prometheus, and for the status that front ends show."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mg_tui.engine.serving.answering import AnswerEnd, ServingEngine

WINDOW_SECONDS: Final = 60.0  # of requests/s and latencies in the status
_BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@dataclass(slots=True)
class RequestClock:
    """The times of one request; monotonic, in seconds."""

    model: str
    began: float = field(default_factory=time.monotonic)
    first_token: float | None = None

    def mark_token(self) -> None:
        """A piece of the answer has come."""
        if self.first_token is None:
            self.first_token = time.monotonic()


class ServingStatistics:
    """What a server has done. Thread-safe.

    Args:
        engine: asked for requests being answered and waiting.
    """

    def __init__(self, engine: ServingEngine):
        self._engine = engine
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._recent: deque[tuple[float, float, float]] = deque()  # end, seconds, seconds to the first token
        self.requests = self.failed = self.refused = 0
        self.registry = CollectorRegistry()
        names = ("model", "outcome")
        self._requests = Counter("model_garden_requests", "Requests by outcome", names, registry=self.registry)
        tokens = ("model",)
        self._prompt = Counter("model_garden_prompt_tokens", "Tokens of prompts", tokens, registry=self.registry)
        self._generated = Counter("model_garden_generated_tokens", "Generated tokens", tokens, registry=self.registry)
        self._seconds = Histogram(
            "model_garden_request_seconds", "Whole requests", tokens, buckets=_BUCKETS, registry=self.registry
        )
        self._first = Histogram(
            "model_garden_first_token_seconds",
            "Until the first token",
            tokens,
            buckets=_BUCKETS,
            registry=self.registry,
        )
        answering = Gauge("model_garden_requests_answering", "Requests being answered", registry=self.registry)
        answering.set_function(lambda: engine.answering)
        waiting = Gauge("model_garden_requests_waiting", "Requests without a first token", registry=self.registry)
        waiting.set_function(lambda: engine.waiting)

    def answered(self, clock: RequestClock, end: AnswerEnd) -> None:
        """A request was answered."""
        now = time.monotonic()
        seconds, first = now - clock.began, (clock.first_token or now) - clock.began
        with self._lock:
            self.requests += 1
            self._recent.append((now, seconds, first))
        self._requests.labels(clock.model, "answered").inc()
        self._prompt.labels(clock.model).inc(end.prompt_tokens)
        self._generated.labels(clock.model).inc(end.completion_tokens)
        self._seconds.labels(clock.model).observe(seconds)
        self._first.labels(clock.model).observe(first)

    def ended(self, model: str, outcome: str) -> None:
        """A request was not answered: "failed", "refused" or "cancelled". `model` is a served one, or empty."""
        with self._lock:
            self.failed += outcome == "failed"
            self.refused += outcome == "refused"
        self._requests.labels(model, outcome).inc()

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def as_dict(self) -> dict[str, Any]:
        """Counts, and requests/s and median times of the last minute, as JSON values."""
        now = time.monotonic()
        with self._lock:
            while self._recent and self._recent[0][0] < now - WINDOW_SECONDS:
                self._recent.popleft()
            recent = list(self._recent)
        span = min(WINDOW_SECONDS, max(now - self._began, 1.0))
        return {
            "requests": self.requests,
            "failed": self.failed,
            "refused": self.refused,
            "answering": self._engine.answering,
            "waiting": self._engine.waiting,
            "requests_per_second": round(len(recent) / span, 3),
            "latency_seconds": round(median(seconds for _, seconds, _ in recent), 4) if recent else None,
            "first_token_seconds": round(median(first for _, _, first in recent), 4) if recent else None,
        }

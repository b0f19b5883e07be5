"""The built-in engine: a thread that answers requests by batched generation.

Requests join while others are being decoded. Those that wait are grouped by their common prefix: questions on one image
share its features, and its tokens are computed once. Features of the images that were used last stay in memory, so that
a later question on one does not encode it again. A greedy answer is that of `generate-vision`, whatever it was batched
with (in float32; in lower precision the last bits depend on the batch).
"""

import threading
import time
import traceback
from collections.abc import Sequence
from typing import Final

from mg_tui.core.errors import GardenError, RunFailed
from mg_tui.core.text import first_line
from mg_tui.engine.generation.interface import GenerationModel
from mg_tui.engine.generation.support import unsupported_reason
from mg_tui.engine.serving.answering import (
    ChatTask,
    EngineEnded,
    PendingAnswer,
    TooManyWaiting,
)
from mg_tui.engine.serving.model_lane import make_lanes
from mg_tui.engine.serving.one_at_a_time import answer_alone
from mg_tui.engine.serving.served_models import ServedModels

MAX_FAILURES: Final = 3  # of the engine in a row: then it is not the requests
# Requests that come together are answered together: a client that asks five questions sends them within milliseconds,
# and a prefill takes tens of them.
GATHER_SECONDS: Final = 0.003
# Steps of one model before another one with requests is served: switching adapters takes as long as a small step.
STEPS_IN_A_ROW: Final = 4


class BuiltinEngine:
    """Answers requests to the models of this process; a `ServingEngine`.

    Args:
        models: loaded; used by the engine's thread alone from now on.
        max_waiting: requests without a first token; further ones are refused.
        batch_size: requests answered at once; None: as many as memory allows.
    """

    def __init__(self, models: ServedModels, *, max_waiting: int, batch_size: int | None = None):
        self.names = tuple(served.name for served in models.models)
        self.images_encoded = 0
        self.answering = 0
        self._models = models
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._new: list[PendingAnswer] = []
        self._queued = 0  # admitted, without a first token
        self._cancelled: set[PendingAnswer] = set()
        self._closing = False
        self._problem: str | None = None
        models.activate(models.models[0])
        first = GenerationModel(models.model, models.models[0].encoder)
        self.sequential_reason = unsupported_reason(first)
        self._lanes = make_lanes(models, batch_size) if self.sequential_reason is None else []
        self._alone: list[PendingAnswer] = []
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """See `ServingEngine.waiting`."""
        return self._queued + len(self._new)

    @property
    def batch_size(self) -> int:
        """Requests that are answered at once at most."""
        return sum(lane.scheduler.budget.rows for lane in self._lanes) or 1

    def problem(self) -> str | None:
        """See `ServingEngine.problem`."""
        if self._problem is None and not self._thread.is_alive() and not self._closing:
            return "the generation thread has ended"
        return self._problem

    def start(self, task: ChatTask) -> PendingAnswer:
        """See `ServingEngine.start`."""
        pending = PendingAnswer(task, self._cancel)
        with self._changed:
            if self._closing or self._problem is not None:
                raise EngineEnded("the server is ending", why=self._problem)
            if self.waiting >= self._max_waiting:
                raise TooManyWaiting(self.waiting, seconds=2)
            self._new.append(pending)
            self._changed.notify()
        return pending

    def _cancel(self, pending: PendingAnswer) -> None:
        with self._changed:
            self._cancelled.add(pending)
            self._changed.notify()

    def close(self) -> None:
        """See `ServingEngine.close`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout=30)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        try:
            while True:
                new, cancelled = self._wait()
                if self._closing:
                    return
                try:
                    for lane in self._lanes:
                        lane.drop(cancelled)
                    self._alone = [pending for pending in self._alone if not pending.cancelled]
                    self._admit(new)
                    self._step()
                    failures = 0
                except Exception as error:
                    traceback.print_exc()
                    failures += 1
                    failed = RunFailed("the engine failed", why=first_line(error)[:300])
                    for pending in new:  # some may be in no lane yet; an event after the last is not looked at
                        pending.send(failed)
                    self._fail_all(failed)
                    if failures >= MAX_FAILURES:
                        self._problem = f"it failed {failures} times in a row: {first_line(error)[:300]}"
                        return
                self._count()
        finally:
            with self._changed:
                left, self._new = self._new, []
            for pending in left:
                pending.send(EngineEnded("the server is ending", why=self._problem))
            self._fail_all(EngineEnded("the server is ending", why=self._problem))
            for lane in self._lanes:
                lane.scheduler.close()
            if self._lanes:
                self._lanes[0].runner.close()

    def _wait(self) -> tuple[list[PendingAnswer], set[PendingAnswer]]:
        """What is new; waits while there is nothing to do."""
        with self._changed:
            idle = self._is_idle()
            while not (self._new or self._cancelled or self._closing) and self._is_idle():
                self._changed.wait()
        if idle:
            time.sleep(GATHER_SECONDS)
        with self._changed:
            new, self._new = self._new, []
            cancelled, self._cancelled = self._cancelled, set()
            self._queued += len(new)
        return new, cancelled

    def _is_idle(self) -> bool:
        return not self._alone and all(lane.is_idle for lane in self._lanes)

    def _admit(self, new: Sequence[PendingAnswer]) -> None:
        if self.sequential_reason is not None:
            self._alone += [pending for pending in new if not pending.cancelled]
            return
        lanes = {lane.served.name: lane for lane in self._lanes}
        for pending in new:
            if not pending.cancelled:
                lanes[pending.task.model].admit(pending)

    def _step(self) -> None:
        if self._alone:
            pending = self._alone[0]
            served = self._models.by_name(pending.task.model)
            self._models.activate(served)
            answer_alone(self._models.model, served.encoder, pending, lambda: pending.cancelled or self._closing)
            self._alone.pop(0)
        for lane in self._lanes:
            for _step in range(STEPS_IN_A_ROW):
                if lane.is_idle:
                    break
                self._models.activate(lane.served)
                lane.step()
                if all(other is lane or other.is_idle for other in self._lanes):
                    break  # look for new requests

    def _count(self) -> None:
        live = [pending for lane in self._lanes for pending in lane.live.values()]
        self._queued = sum(lane.waiting for lane in self._lanes) + len(self._alone)
        self.answering = len(live) + len(self._alone)
        self.images_encoded = sum({id(lane.images): lane.images.encoded for lane in self._lanes}.values())

    def _fail_all(self, error: GardenError) -> None:
        for pending in self._alone:
            pending.send(error)
        self._alone = []
        for lane in self._lanes:
            lane.fail(list(lane.live), error)

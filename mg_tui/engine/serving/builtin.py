"""The built-in engine: a thread that answers requests by batched generation.

Requests join while others are being decoded. Those that wait are grouped by their common prefix: questions on one image
share its features, and its tokens are computed once. Features of the images that were used last stay in memory, so that
a later question on one does not encode it again. A greedy answer is that of `generate-vision`, whatever it was batched
with (in float32; in lower precision the last bits depend on the batch).
"""

import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed
from mg_tui.core.example import Example
from mg_tui.core.text import first_line
from mg_tui.engine.generation.budget import GenerationBudget
from mg_tui.engine.generation.generate import end_token_ids
from mg_tui.engine.generation.grouping import group_by_prefix
from mg_tui.engine.generation.image_features import ImageFeatures
from mg_tui.engine.generation.interface import GenerationModel
from mg_tui.engine.generation.model_runner import ModelRunner
from mg_tui.engine.generation.prefill import RowGroup
from mg_tui.engine.generation.prompts import Prompt, PromptEncoder, read_image_size
from mg_tui.engine.generation.row_queue import MAX_GROUP
from mg_tui.engine.generation.row_state import RowState, TextStream, resolve_seed
from mg_tui.engine.generation.scheduler import Scheduler
from mg_tui.engine.generation.support import unsupported_reason
from mg_tui.engine.serving.answering import (
    AnswerEnd,
    ChatTask,
    EngineEnded,
    FinishReason,
    PendingAnswer,
    TaskRefused,
    TextPiece,
    TooManyWaiting,
)
from mg_tui.engine.serving.one_at_a_time import answer_alone
from mg_tui.engine.serving.served_models import ServedModel, ServedModels
from mg_tui.engine.serving.stop_strings import StopStrings
from mg_tui.families.split_encoding import SplitEncoder

RECENT_IMAGES: Final = 64  # whose features stay in memory, within ImageFeatures' own limit of tokens
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
        self._lanes = _make_lanes(models, batch_size) if self.sequential_reason is None else []
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
                    self._fail_all(RunFailed("the engine failed", why=first_line(error)[:300]))
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


class _Lane:
    """The requests to one of the models."""

    def __init__(
        self,
        served: ServedModel,
        runner: ModelRunner,
        images: ImageFeatures,
        encoder: SplitEncoder,
        budget: GenerationBudget,
    ):
        self.served = served
        self.runner = runner
        self.images = images
        self.scheduler = Scheduler(runner, images, budget, end_token_ids(runner.model))
        self.live: dict[RowState, PendingAnswer] = {}
        self._pending: list[RowState] = []  # not in the scheduler's queue yet
        self._encode = PromptEncoder(encoder, read_image_size)
        self._tokenizer = encoder.encoder.processor.tokenizer
        self._stops: dict[RowState, StopStrings] = {}
        self._recent: OrderedDict[str, None] = OrderedDict()
        config = runner.model.config.get_text_config()
        self._max_tokens: int | None = getattr(config, "max_position_embeddings", None)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._pending and self.scheduler.is_idle

    @property
    def waiting(self) -> int:
        """Requests without a first token."""
        return sum(not row.tokens for row in self.live)

    def admit(self, pending: PendingAnswer) -> None:
        """Take a request."""
        try:
            row = self._row(pending)
        except GardenError as error:
            pending.send(_for_client(error))
            return
        self.images.reserve(row.prompt.images)
        self._keep(row.prompt.images)
        self.live[row] = pending
        self._pending.append(row)

    def step(self) -> None:
        """Prefill or decode one token, and pass on what came of it."""
        if self._pending and not self.scheduler.waiting:
            self.scheduler.add(self._groups(self._pending))
            self._pending = []
        try:
            finished = self.scheduler.step()
        except GardenError as error:
            # One request that does not fit into memory alone, while it is decoded or before; or one that is refused.
            decoding = self.scheduler.decoding_rows if isinstance(error, EnvironmentProblem) else []
            self.fail(decoding or self.scheduler.next_rows, _for_client(error))
            return
        for row in finished:
            pending = self.live.pop(row)
            stop = self._stops.pop(row)
            if row.problem is not None:
                pending.send(_for_client(row.problem))
                continue
            if not stop.found and (rest := stop.finish()):
                pending.send(TextPiece(rest))
            pending.send(_end(row, stop))
        stopped = [row for row, stop in self._stops.items() if stop.found]
        for row in stopped:
            self.live[row].send(_end(row, self._stops[row]))
        self._remove(stopped)

    def drop(self, cancelled: set[PendingAnswer]) -> None:
        """Let go of requests that nobody waits for."""
        self._remove([row for row, pending in self.live.items() if pending in cancelled or pending.cancelled])

    def fail(self, rows: Sequence[RowState], error: GardenError) -> None:
        """End requests with an error."""
        for row in rows:
            self.live[row].send(error)
        self._remove(rows)

    def _remove(self, rows: Sequence[RowState]) -> None:
        if not rows:
            return
        gone = set(rows)
        for row in self._pending:
            if row in gone:
                self.images.release(row.prompt.images)
        self._pending = [row for row in self._pending if row not in gone]
        self.scheduler.cancel(gone)
        for row in gone:
            self.live.pop(row, None)
            self._stops.pop(row, None)

    def _row(self, pending: PendingAnswer) -> RowState:
        task = pending.task
        # The same number for all: the answer to a seed depends on nothing but the request.
        prompt = self._encode(0, Example(0, task.messages))
        self._require_fitting(prompt, task)
        stop = StopStrings(task.stop)

        def on_text(piece: str) -> None:
            if text := stop.feed(piece):
                pending.send(TextPiece(text))

        row = RowState(prompt, task.sampling, resolve_seed(task.sampling), TextStream(self._tokenizer, on_text))
        self._stops[row] = stop
        return row

    def _require_fitting(self, prompt: Prompt, task: ChatTask) -> None:
        limit, length = self._max_tokens, len(prompt.ids)
        if limit is not None and length + task.sampling.max_new_tokens > limit:
            raise TaskRefused(
                f"the model takes at most {limit:,} tokens; the prompt has {length:,}, and the answer may have "
                f"{task.sampling.max_new_tokens:,}",
                code="context_length_exceeded",
                hint="send fewer or smaller images, less text, or a lower max_tokens",
            )

    def _groups(self, rows: Sequence[RowState]) -> list[RowGroup]:
        most = self.scheduler.budget.rows
        groups = group_by_prefix([row.prompt.key for row in rows], max(1, most // 4, min(most // 2, MAX_GROUP)))
        return [RowGroup(tuple(rows[index] for index in group.rows), group.shared) for group in groups]

    def _keep(self, paths: Sequence[str]) -> None:
        """Keep the features of these images for later requests; those used longest ago are freed."""
        for path in dict.fromkeys(paths):
            if path not in self._recent:
                self.images.reserve([path])
                self._recent[path] = None
            self._recent.move_to_end(path)
        while len(self._recent) > RECENT_IMAGES:
            oldest, _ = self._recent.popitem(last=False)
            self.images.release([oldest])
            self._encode.forget(oldest)


def _make_lanes(models: ServedModels, batch_size: int | None) -> list[_Lane]:
    runner = ModelRunner(models.model, models.family.vision)
    budget = GenerationBudget.from_free_memory(models.model)
    share = len(models.models)  # each lane has its own rows in memory
    budget = replace(budget, rows=max(1, budget.rows // share), kv_tokens=max(1, budget.kv_tokens // share))
    if batch_size is not None:
        budget = replace(budget, rows=batch_size)
    features: dict[str, ImageFeatures] = {}
    lanes = []
    for served in models.models:
        encoder = SplitEncoder(served.encoder)
        images = features.setdefault(served.features_key, ImageFeatures(models.model, encoder))
        lanes.append(_Lane(served, runner, images, encoder, budget))
    return lanes


def _end(row: RowState, stop: StopStrings) -> AnswerEnd:
    reason: FinishReason = "length" if row.finish_reason == "length" and not stop.found else "stop"
    return AnswerEnd(reason, len(row.prompt.ids), len(row.tokens))


def _for_client(error: GardenError) -> GardenError:
    """An error of a row as one of a request, which has no row."""
    if isinstance(error, TaskRefused):
        return error
    what = error.what.replace("row 0: ", "").replace("row 0 ", "the request ")
    return TaskRefused(what, why=error.why)

"""The requests to one model of the built-in engine: rows of its scheduler, and the images that stay in memory."""

import traceback
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed
from mg_tui.core.example import Example
from mg_tui.engine.generation.budget import GenerationBudget
from mg_tui.engine.generation.generate import end_token_ids
from mg_tui.engine.generation.grouping import group_by_prefix
from mg_tui.engine.generation.image_features import ImageFeatures
from mg_tui.engine.generation.model_runner import ModelRunner
from mg_tui.engine.generation.prefill import RowGroup
from mg_tui.engine.generation.prompts import Prompt, PromptEncoder, read_image_size
from mg_tui.engine.generation.row_queue import MAX_GROUP
from mg_tui.engine.generation.row_state import RowState, TextStream, resolve_seed
from mg_tui.engine.generation.scheduler import Scheduler
from mg_tui.engine.serving.answering import (
    AnswerEnd,
    ChatTask,
    FinishReason,
    PendingAnswer,
    TaskRefused,
    TextPiece,
)
from mg_tui.engine.serving.served_models import ServedModel, ServedModels
from mg_tui.engine.serving.stop_strings import StopStrings
from mg_tui.families.split_encoding import SplitEncoder

RECENT_IMAGES: Final = 64  # whose features stay in memory, within ImageFeatures' own limit of tokens


class ModelLane:
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
        except Exception:  # of the model's own tokenizer, say: the fault of this request, which the others survive
            traceback.print_exc()
            pending.send(RunFailed("the engine failed on this request"))
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


def make_lanes(models: ServedModels, batch_size: int | None) -> list[ModelLane]:
    """A lane for each model, which share the memory that is free."""
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
        lanes.append(ModelLane(served, runner, images, encoder, budget))
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

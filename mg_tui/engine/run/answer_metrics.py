"""Metrics of answers while training: the held-out examples answered by the model as it is, and scored.

Answers are greedy and generated as `evaluate-vision` generates them, so that a checkpoint's scores are the same there.
Neither random states nor weights change, and nothing stays on the device. The rows of an evaluation, with answers and
scores, are kept in `evaluations/step-000200` of the run folder.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mg_tui.core.errors import FamilyError, GardenError
from mg_tui.core.example import Example
from mg_tui.core.spec import AUTO_METRICS, BEST_LOSS, BEST_NONE, TrainingSpec
from mg_tui.core.text import first_line
from mg_tui.engine.batching.feature_cache import FeatureCache
from mg_tui.engine.evaluation.answerer import AnswerSampling, ModelAnswer
from mg_tui.engine.evaluation.backend import answer_rows
from mg_tui.engine.generation.interface import GenerationModel
from mg_tui.families.collate import ExampleEncoder
from mg_tui.metrics.choose import settle_metrics
from mg_tui.metrics.contract import Metric, Prediction
from mg_tui.metrics.registry import load_metrics
from mg_tui.metrics.results import AnsweredRow, ResultsWriter
from mg_tui.runs import checkpoint_format
from mg_tui.runs.checkpoint_format import BestBy
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter


def best_by(spec: TrainingSpec) -> BestBy | None:
    """What decides which checkpoint is the best, and in which direction; None when none is kept.

    Raises:
        UsageError: there is no such metric.
    """
    if spec.keep_best == BEST_NONE:
        return None
    if spec.keep_best == BEST_LOSS:
        return BestBy()
    (metric,) = load_metrics().named([spec.keep_best])
    return BestBy(metric.name, metric.higher_is_better)


@dataclass(frozen=True, slots=True)
class ChosenMetrics:
    """The metrics of a run's evaluations, why these, and the examples that are answered."""

    metrics: tuple[Metric, ...]
    reason: str
    examples: tuple[Example, ...]


def choose_answer_metrics(spec: TrainingSpec, held_out: Sequence[Example]) -> ChosenMetrics | None:
    """The metrics that a run asks for; None without any, or without held-out examples.

    Raises:
        UsageError: there is no such metric.
        DataError: a metric does not take a reference; its row is named.
    """
    names = () if spec.eval_metrics == (AUTO_METRICS,) else tuple(dict.fromkeys(spec.eval_metrics))
    best = spec.keep_best if spec.keep_best not in (BEST_LOSS, BEST_NONE) else None
    examples = tuple(held_out[: spec.eval_limit])
    if not (spec.eval_metrics or best) or not examples:
        return None
    blank = [
        Prediction(item.row, "", item.references or (item.response,), tuple(image.path for image in item.images))
        for item in examples
    ]
    if best is not None and (names or not spec.eval_metrics):
        names = tuple(dict.fromkeys((*names, best)))
    metrics, reason = settle_metrics(names, blank)
    if best is not None and best not in [metric.name for metric in metrics]:
        metrics += settle_metrics([best], blank)[0]
    return ChosenMetrics(tuple(metrics), reason, examples)


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """Scores by metric, the number of rows answered, the folder of the rows, and seconds.

    The scores are empty when the answers could not be scored; the journal has a warning then.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    answered: int = 0
    folder: Path | None = None
    seconds: float = 0.0

    def event_fields(self, run: Path) -> dict[str, Any]:
        """The fields of the journal's `eval` event; `run` is the run folder."""
        if self.folder is None:
            return {}
        answers = self.folder.relative_to(run).as_posix()
        seconds = round(self.seconds, 3)
        return {"metrics": dict(self.scores), "answered": self.answered, "answer_seconds": seconds, "answers": answers}


class _Interrupted(Exception):
    """A stop was requested; the evaluation is redone when the run resumes."""


class AnswerMetrics:
    """Answers and scores the held-out examples at an evaluation.

    Args:
        chosen: metrics and examples.
        spec: the run's.
        encoder: encodes prompts as in training.
        folder: gets the rows.
        journal: gets a warning when an evaluation fails; the training is not ended by it.
        cache: of features of images, enabled for the model's frozen vision tower.

    Raises:
        FamilyError: the model's family has a collator of its own, which encodes no prompts.
    """

    def __init__(
        self,
        chosen: ChosenMetrics,
        spec: TrainingSpec,
        encoder: ExampleEncoder | None,
        folder: RunFolder,
        journal: JournalWriter,
        cache: FeatureCache | None = None,
    ):
        if encoder is None:
            raise FamilyError(
                "eval_metrics: answers cannot be generated for this model family",
                why="it has a collator of its own, which encodes no prompts",
                hint="leave --eval-metrics and a metric in --keep-best out",
            )
        self._chosen = chosen
        self._spec = spec
        self._encoder = encoder
        self._folder = folder
        self._journal = journal
        self._cache = cache

    def score(self, trainer: Any, step: int) -> AnswerScores | None:
        """Answer and score with the trainer's model, which is in evaluation mode; None when a stop was requested.

        Raises:
            StopRequested: a stop without a checkpoint was requested.
        """
        began = time.monotonic()
        folder = checkpoint_format.folder_of(self._folder.evaluations_dir, step)
        shutil.rmtree(folder, ignore_errors=True)  # of an evaluation that was interrupted, or of steps that are redone
        try:
            scores = self._answer_and_score(trainer, folder, step)
        except _Interrupted:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        except (GardenError, torch.OutOfMemoryError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            self._journal.write("warning", what="the answers could not be scored", why=first_line(error))
            return AnswerScores(seconds=time.monotonic() - began)
        self._prune(trainer)
        return AnswerScores(scores, len(self._chosen.examples), folder, time.monotonic() - began)

    def _answer_and_score(self, trainer: Any, folder: Path, step: int) -> dict[str, float]:
        spec, examples = self._spec, self._chosen.examples
        sampling = AnswerSampling(spec.eval_max_new_tokens)
        about = {
            "model": f"{self._folder.id}@{step}",
            "kind": "checkpoint",
            "base_model": spec.base_model,
            "dataset": spec.eval_dataset or f"{spec.dataset}, held out",
            "rows": len(examples),
            "max_new_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
        }
        model = GenerationModel(trainer.accelerator.unwrap_model(trainer.model), self._encoder, self._usable_cache)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []

        def poll() -> None:
            trainer.stopper.poll()
            if trainer.stopper.stop_by is not None:
                raise _Interrupted

        with ResultsWriter(folder, about) as writer:

            def take(answer: ModelAnswer) -> None:
                writer.add(AnsweredRow.of(answer.example, answer.text, error=answer.error, timing=answer.timing))

            with torch.random.fork_rng(devices), trainer.accelerator.autocast():
                answer_rows(model, examples, sampling, None, frozenset(), take, poll)
            rows = [example.row for example in examples]
            evaluation = writer.finish(self._chosen.metrics, rows=rows, reason=self._chosen.reason)
        for failed in evaluation.failed:
            self._journal.write("warning", what=f"the metric {failed.metric.name} failed", why=failed.problem)
        return {scores.metric.name: scores.aggregate for scores in evaluation.scores}

    @property
    def _usable_cache(self) -> FeatureCache | None:
        return self._cache if self._cache is not None and self._cache.enabled else None

    def _prune(self, trainer: Any) -> None:
        """Keep the rows of as many evaluations as checkpoints, and those of the best one."""
        best = trainer.store.best
        place = self._folder.evaluations_dir
        kept = None if best is None else checkpoint_format.folder_of(place, best.step)
        for path in checkpoint_format.list_checkpoints(place)[: -self._spec.save_total_limit]:
            if path != kept:
                shutil.rmtree(path, ignore_errors=True)

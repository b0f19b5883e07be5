"""The evaluations of a run: held-out batches for the loss, metrics of answers, and when the training ends early."""

from pathlib import Path
from typing import Any

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.batching.batches import EvaluationBatches, PaddedLayout
from mg_tui.engine.generation.kept_features import open_kept_features
from mg_tui.engine.monitoring.run_history import RunHistory
from mg_tui.engine.run.answer_metrics import AnswerMetrics, ChosenMetrics, best_by, choose_answer_metrics
from mg_tui.engine.run.distributed import GradientSync
from mg_tui.engine.run.due_work import evaluation_interval
from mg_tui.engine.run.early_stopping import EarlyStopping
from mg_tui.engine.run.setup import RunContext, is_vision_frozen
from mg_tui.engine.run.training_data import TrainingData
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter


def choose_metrics(spec: TrainingSpec, data: TrainingData, journal: JournalWriter) -> ChosenMetrics | None:
    """The metrics of answers that a run asks for, written to the journal with the reason.

    Raises:
        UsageError, DataError: see `choose_answer_metrics`.
    """
    best_by(spec)  # refuses unknown metrics, whatever is held out
    chosen = choose_answer_metrics(spec, data.evaluation)
    if chosen is not None:
        names = ", ".join(metric.name for metric in chosen.metrics)
        journal.write("decision", what="evaluation metrics", value=names, why=chosen.reason)
    return chosen


def make_evaluation_batches(
    context: RunContext, data: TrainingData, batch_size: int, sync: GradientSync
) -> EvaluationBatches | None:
    """The batches of an evaluation, or None when nothing is held out: a share of them for each process of the run.

    Padded: memory suffices without gradients.
    """
    if not data.evaluation:
        return None
    layout = PaddedLayout(context.collator, max(batch_size, 4))
    share = (sync.world.rank, sync.world.size)
    return EvaluationBatches(data.evaluation, layout, share=share, add_up=sync.all_reduce_sums)


def make_answer_metrics(
    spec: TrainingSpec,
    context: RunContext,
    chosen: ChosenMetrics | None,
    model: Any,
    *,
    total: int,
    folder: RunFolder,
    journal: JournalWriter,
    features: Path,
) -> AnswerMetrics | None:
    """What scores answers at evaluations; None when no metric was asked for.

    Args:
        features: folder of cached image features.

    Raises:
        FamilyError: answers cannot be generated for the model's family.
    """
    if chosen is None:
        return None
    cache = None
    repeated = total > evaluation_interval(spec)
    if repeated and spec.vision_cache != "off" and is_vision_frozen(spec) and context.encoder is not None:
        cache = open_kept_features(
            features, model, context.family, context.encoder, purpose="training", gib=spec.vision_cache_size
        )
    return AnswerMetrics(chosen, spec, context.encoder, folder, journal, cache)


def make_early_stopping(spec: TrainingSpec, history: RunHistory, start: int) -> EarlyStopping | None:
    """What ends the training early, with the evaluations up to the step it starts from; None when nothing does."""
    by = best_by(spec)
    if spec.early_stopping_patience is None or by is None:
        return None
    earlier = {step: scores for step, scores in history.evaluations.items() if step <= start}
    return EarlyStopping(spec.early_stopping_patience, by, earlier)

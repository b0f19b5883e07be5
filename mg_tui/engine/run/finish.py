"""The end of a run: its result is saved with the numbers of all attempts together."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.checkpointing.trained_weights import load_trained_weights
from mg_tui.engine.monitoring.run_history import read_run_history
from mg_tui.engine.results.saving import TrainingSummary, is_peft_model, save_result
from mg_tui.engine.run.setup import RunContext
from mg_tui.engine.run.training_data import TrainingData
from mg_tui.runs import checkpoint_format
from mg_tui.runs.cost import compute_cost
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter

if TYPE_CHECKING:
    from mg_tui.engine.run.trainer import GardenTrainer


def save_run_result(
    trainer: "GardenTrainer",
    context: RunContext,
    data: TrainingData,
    table: dict[str, dict[str, Any]],
    *,
    spec: TrainingSpec,
    folder: RunFolder,
    journal: JournalWriter,
    used: Mapping[str, float],
    prices: Mapping[str, Any],
) -> dict[str, Any]:
    """Save the result; returns the fields of the `finished` event.

    `used` is the GPU usage of the run, `prices` the settings' [cost] table.

    Raises:
        UsageError, EnvironmentProblem: the output folder cannot be used; the last checkpoint is complete.
    """
    placement = context.placement
    model = trainer.accelerator.unwrap_model(trainer.model)
    history = read_run_history(folder, now=time.time())
    steps = int(trainer.state.global_step)
    taken_from, eval_loss, eval_metrics = steps, history.eval_loss, history.eval_metrics
    if spec.result_from == "best" and (best := _best_checkpoint(trainer, journal)) is not None:
        taken_from, eval_loss, eval_metrics = best.step, best.eval_loss, dict(best.eval_metrics)
        if best.step != steps:
            load_trained_weights(model, best.path)
    if not is_peft_model(model):
        # Trained in float32, saved in the dtype of the rest of the model.
        import torch

        model.to(getattr(torch, placement.dtype))
    cost = compute_cost(used.get("energy_j"), used.get("gpu_seconds"), prices, history.seconds)
    saved = save_result(
        model,
        context.processor,
        spec=spec,
        family=context.family,
        base=context.resolved,
        folder=Path(spec.output_dir) if spec.output_dir else folder.model_dir,
        facts=TrainingSummary(
            final_loss=history.final_loss,
            eval_loss=eval_loss,
            eval_metrics=eval_metrics,
            steps=steps,
            result_step=taken_from if taken_from != steps else None,
            epochs=trainer.state.epoch,
            examples=len(data.train),
            eval_examples=len(data.evaluation),
            skipped_rows=data.skipped,
            seconds=round(history.seconds, 2),
            supervised_tokens=history.supervised_tokens,
            trainable_parameters=sum(part["trained"] for part in table.values()),
            total_parameters=sum(part["parameters"] for part in table.values()),
            trained_parts={name: part["trained"] for name, part in table.items() if part["trained"]},
            device=placement.device_title,
            peak_device_memory=history.peak_device_memory,
            energy_kwh=cost.energy_kwh,
            gpu_hours=cost.gpu_hours,
            cost=cost.formatted_money,
        ),
        dtype=placement.dtype,
        quantization=placement.quantization,
        run=folder.id,
    )
    return {
        "steps": steps,
        "seconds": round(history.seconds, 2),
        "result": str(saved),
        "result_step": taken_from,
        "metrics": {"loss": history.final_loss, "eval_loss": eval_loss, **eval_metrics},
    }


def report_row_failures(failures: Sequence[Any], journal: JournalWriter) -> None:
    """Warn of the examples that were skipped because they could no longer be read."""
    if failures:
        rows = sorted({failure.row for failure in failures})
        journal.write(
            "warning",
            what=f"{len(failures)} times an example could not be read and was skipped",
            where=f"rows {', '.join(map(str, rows))}",
            why=failures[0].what,
        )


def _best_checkpoint(trainer: "GardenTrainer", journal: JournalWriter) -> checkpoint_format.BestCheckpoint | None:
    """The best checkpoint, for the result; None when it is missing or damaged, with a warning."""
    best = trainer.store.best
    problem = checkpoint_format.find_problem(best.path) if best is not None else None
    if best is None or problem is not None:
        what = "the result is that of the last step: the best checkpoint cannot be used"
        deciding = "a loss" if trainer.store.best_by in (None, checkpoint_format.BestBy()) else "the deciding score"
        journal.write("warning", what=what, why=problem or f"no evaluation had {deciding}")
        return None
    by = "evaluation loss" if best.by.metric == checkpoint_format.LOSS else best.by.metric
    journal.write("decision", what="result from", value=f"step {best.step}", why=f"{by} {best.score:.4g}")
    return best

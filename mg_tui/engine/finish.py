"""The end of a run: its result saved with the numbers of the whole run, all attempts together."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.assemble import Base
from mg_tui.engine.data import TrainingData
from mg_tui.engine.history import read_history
from mg_tui.engine.result import ResultFacts, is_adapter, save_result
from mg_tui.runs.folder import RunFolder

if TYPE_CHECKING:
    from mg_tui.engine.trainer import GardenTrainer


def finish(
    trainer: "GardenTrainer",
    base: Base,
    ready: TrainingData,
    table: dict[str, dict[str, Any]],
    *,
    spec: TrainingSpec,
    folder: RunFolder,
) -> dict[str, Any]:
    """Save the result; returns what the `finished` event says.

    Raises:
        UsageError, EnvironmentProblem: the output folder cannot be used; the last checkpoint is whole.
    """
    placed = base.placement
    model = trainer.accelerator.unwrap_model(trainer.model)
    if not is_adapter(model):
        # Trained in float32; kept in the dtype that the rest of the model has.
        import torch

        model.to(getattr(torch, placed.dtype))
    history = read_history(folder)
    steps = int(trainer.state.global_step)
    saved = save_result(
        model,
        base.processor,
        spec=spec,
        family=base.family,
        base=base.resolved,
        folder=Path(spec.output_dir) if spec.output_dir else folder.model_dir,
        facts=ResultFacts(
            final_loss=history.final_loss,
            eval_loss=history.eval_loss,
            steps=steps,
            epochs=trainer.state.epoch,
            examples=len(ready.train),
            eval_examples=len(ready.evaluation),
            skipped_rows=ready.skipped,
            seconds=round(history.seconds, 2),
            supervised_tokens=history.supervised_tokens,
            trainable_parameters=sum(part["trained"] for part in table.values()),
            total_parameters=sum(part["parameters"] for part in table.values()),
            trained_parts={name: part["trained"] for name, part in table.items() if part["trained"]},
            device=placed.device_title,
            peak_device_memory=history.peak_device_memory,
        ),
        dtype=placed.dtype,
        quantization=placed.quantization,
        run=folder.id,
    )
    return {
        "steps": steps,
        "seconds": round(history.seconds, 2),
        "result": str(saved),
        "metrics": {"loss": history.final_loss, "eval_loss": history.eval_loss},
    }

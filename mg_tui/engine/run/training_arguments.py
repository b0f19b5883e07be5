"""transformers' TrainingArguments from a spec: the only place that maps their names to ours."""

import importlib.metadata
import logging
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run.due_work import evaluation_interval
from mg_tui.engine.run.placement import Placement
from mg_tui.engine.run.transformers_contract import supported_range

_TRACKER_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}


def require_trackers(spec: TrainingSpec) -> None:
    """Raise EnvironmentProblem when a requested tracker is not installed."""
    import importlib.util

    for tracker in spec.report_to:
        if importlib.util.find_spec(_TRACKER_PACKAGES[tracker]) is None:
            raise EnvironmentProblem(
                f"report_to: {tracker} is not installed", hint=f"pip install 'model-garden-tui[{tracker}]'"
            )


def make_training_arguments(
    spec: TrainingSpec, placement: Placement, *, folder: Path, run: str, total_steps: int, evaluates: bool
) -> Any:
    """The arguments for a run of `total_steps` whose loader yields whole optimizer steps.

    Accumulation is 1 because one item of our loader is a whole optimizer step; the trainer splits it itself.

    Raises:
        EnvironmentProblem: the installed transformers does not know one of the arguments.
    """
    from transformers import TrainingArguments

    values: dict[str, Any] = {
        "output_dir": str(folder),
        "run_name": spec.name or run,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "max_steps": total_steps,
        "num_train_epochs": spec.epochs,
        "learning_rate": spec.learning_rate,
        "lr_scheduler_type": spec.scheduler,
        "warmup_steps": warmup_steps(spec, total_steps),
        "optim": _optimizer_name(spec, placement),
        "weight_decay": spec.weight_decay,
        "adam_beta1": spec.adam_beta1,
        "adam_beta2": spec.adam_beta2,
        "adam_epsilon": spec.adam_epsilon,
        "max_grad_norm": spec.max_grad_norm,
        "seed": spec.seed,
        "bf16": placement.dtype == "bfloat16",
        "fp16": placement.dtype == "float16",
        "use_cpu": not placement.cuda,
        "logging_strategy": "steps",
        "logging_steps": spec.logging_steps,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": spec.save_steps,
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": evaluation_interval(spec) if evaluates else None,
        # Our loader starts at the right step; the Trainer would read the batches that it skips.
        "ignore_data_skip": True,
        "remove_unused_columns": False,
        "label_names": [],
        "report_to": list(spec.report_to) or "none",
        "disable_tqdm": True,
        "log_level": "warning",
        "push_to_hub": False,
    }
    if missing := sorted(values.keys() - {field.name for field in fields(TrainingArguments)}):
        raise EnvironmentProblem(
            f"transformers {importlib.metadata.version('transformers')} has no training argument {', '.join(missing)}",
            hint=f"install a supported version: pip install 'transformers{supported_range()}'",
        )
    logger = logging.getLogger("transformers.training_args")
    logger.addFilter(_is_no_advice_on_launchers)
    try:
        return _use_one_device(TrainingArguments(**values))
    finally:
        logger.removeFilter(_is_no_advice_on_launchers)


def _is_no_advice_on_launchers(record: logging.LogRecord) -> bool:
    """False for the warning about a process group that transformers did not make: our ranks do not need it to."""
    return "process group is initialized" not in record.getMessage()


def _use_one_device(arguments: Any) -> Any:
    """One worker, one device: the Trainer would wrap a model in `nn.DataParallel` wherever it sees several GPUs."""
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments


def warmup_steps(spec: TrainingSpec, total_steps: int) -> int:
    """Optimizer steps of warm-up."""
    if spec.warmup_steps is not None:
        return spec.warmup_steps
    return math.ceil(spec.warmup_ratio * total_steps)


def _optimizer_name(spec: TrainingSpec, placement: Placement) -> str:
    if spec.optimizer == "adamw":
        return "adamw_torch_fused" if placement.cuda else "adamw_torch"
    return spec.optimizer

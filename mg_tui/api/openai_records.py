"""Runs, events and checkpoints as OpenAI's fine-tuning API shows them."""

from typing import Any, Final

from mg_tui.api.garden import Garden
from mg_tui.api.uploads import UploadStore
from mg_tui.core.events import Event, json_safe
from mg_tui.core.text import one_line
from mg_tui.runs.queue import read_queue_record
from mg_tui.runs.records import SavedCheckpoint
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary

PAUSED_BY: Final = "api pause"  # in the requester of a stop that is meant to be resumed
_STATUSES: Final = {
    RunState.CREATED: "validating_files",
    RunState.QUEUED: "queued",
    RunState.RUNNING: "running",
    RunState.FINISHED: "succeeded",
    RunState.STOPPED: "cancelled",
    RunState.FAILED: "failed",
    RunState.CRASHED: "failed",
    RunState.INTERRUPTED: "failed",
}


def job_record(garden: Garden, run: RunSummary) -> dict[str, Any]:
    """A run as a fine-tuning job."""
    spec, view, store = run.spec, run.view, UploadStore(garden.home)
    hyperparameters = {
        "n_epochs": spec.get("epochs", "auto"),
        "batch_size": int(spec.get("batch_size", 1)) * int(spec.get("gradient_accumulation_steps", 1)),
        "learning_rate_multiplier": "auto",
    }
    dataset, evaluation = str(spec.get("dataset", "")), spec.get("eval_dataset")
    return {
        "id": f"ftjob-{run.id}",
        "object": "fine_tuning.job",
        "created_at": int(view.created_at or 0),
        "finished_at": int(view.ended_at) if run.state is RunState.FINISHED and view.ended_at else None,
        "error": _error(garden, run),
        "fine_tuned_model": str(run.folder.result_dir) if run.state is RunState.FINISHED else None,
        "hyperparameters": hyperparameters,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "model": spec.get("base_model"),
        "organization_id": "",
        "result_files": [],
        "seed": spec.get("seed", 0),
        "status": _status(run),
        "trained_tokens": None,
        "training_file": store.id_of(dataset) or dataset,
        "validation_file": (store.id_of(str(evaluation)) or evaluation) if evaluation else None,
        "estimated_finish": None,
        "integrations": [],
        "user_provided_suffix": run.name,
    }


def event_record(garden: Garden, event: Event) -> dict[str, Any] | None:
    """An event as OpenAI's API shows it; None for those that it has no use for."""
    data, level, kind = event.data, "info", "message"
    match event.kind:
        case "step":
            message, kind = f"Step {data.get('step')}: loss {data.get('loss')}", "metrics"
        case "eval":
            message, kind = f"Evaluation at step {data.get('step')}: loss {data.get('loss')}", "metrics"
        case "created" | "queued" | "started" | "finished" | "stopped":
            message = f"Job {event.kind}"
        case "checkpoint":
            message = f"Checkpoint created at step {data.get('step')}"
        case "phase":
            message = str(data.get("name", ""))
        case "warning" | "failed":
            message, level = str(data.get("what", "")), "warn" if event.kind == "warning" else "error"
        case _:
            return None
    return {
        "id": f"ftevent-{event.n}",
        "object": "fine_tuning.job.event",
        "created_at": int(event.t),
        "level": level,
        "message": garden.paths.redact(one_line(message, limit=500)),
        "type": kind,
        "data": json_safe(dict(data)) if kind == "metrics" else None,
    }


def checkpoint_record(run: RunSummary, saved: SavedCheckpoint) -> dict[str, Any]:
    """A checkpoint as OpenAI's API shows it; its model is the name that this program's commands take."""
    record: dict[str, Any] = json_safe(
        {
            "id": f"ftckpt-{saved.step}",
            "object": "fine_tuning.job.checkpoint",
            "created_at": int(run.view.started_at or 0),
            "fine_tuned_model_checkpoint": f"{run.id}@{saved.step}",
            "fine_tuning_job_id": f"ftjob-{run.id}",
            "step_number": saved.step,
            "metrics": {"step": saved.step, "valid_loss": saved.eval_loss},
        }
    )
    return record


def _status(run: RunSummary) -> str:
    if run.state is RunState.QUEUED and read_queue_record(run.folder).held:
        return "paused"
    if run.state is RunState.STOPPED and PAUSED_BY in str(run.view.result.get("by", "")):
        return "paused"
    return _STATUSES[run.state]


def _error(garden: Garden, run: RunSummary) -> dict[str, Any] | None:
    if _STATUSES[run.state] != "failed":
        return None
    message = run.view.error.get("what") or f"The job {run.state.label}."
    return {"code": run.state.value, "message": garden.paths.redact(one_line(str(message), limit=500)), "param": None}

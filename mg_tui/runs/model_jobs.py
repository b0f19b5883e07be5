"""Jobs: merges, exports, verifications and pushes, each a folder under `<home>/jobs`, handled by the code of runs.

<id>/
  spec.json, events.jsonl, worker.log, lock, control/    as of a run

The last event of one that finished has what its command prints as JSON.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary
from mg_tui.runs.view import RunView

if TYPE_CHECKING:
    from mg_tui.core.model_job_spec import ModelJobSpec

# What the model becomes, goes to, or is compared with: the field of the spec, by operation.
_TARGETS = {"merge": "output", "export": "output", "verify": "against", "push": "repository"}


@dataclass(frozen=True, slots=True)
class ModelJobFolder(RunFolder):
    """One job's folder. Of a run's, checkpoints, samples and model stay empty."""

    parent: ClassVar[str] = "jobs"
    noun: ClassVar[str] = "job"
    command: ClassVar[str] = "jobs"
    worker: ClassVar[str] = "mg_tui.engine.model_jobs"
    process: ClassVar[str] = "job's process"

    def read_job_spec(self) -> "ModelJobSpec":
        """What was asked.

        Raises:
            UsageError: there is no readable spec; a SpecError when a field of it cannot be used by this version.
        """
        from mg_tui.core.model_job_spec import parse_job_spec

        return parse_job_spec(self.spec_values(), where=str(self.spec_file))


def job_result(view: RunView) -> dict[str, Any] | None:
    """What came of a finished job; None of another one."""
    reply = view.result.get("reply") if view.lifecycle == "finished" else None
    return dict(reply) if isinstance(reply, dict) else None


def job_record(job: RunSummary, now: float) -> dict[str, Any]:
    """One job as JSON values; times in seconds, moments as Unix time. `now`: Unix time."""
    view, operation = job.view, str(job.spec.get("operation") or "")
    running = job.state is RunState.RUNNING
    return {
        "id": job.id,
        "operation": operation,
        "state": job.state.value,
        "problem": job.problem,
        "path": str(job.folder.path),
        "model": job.spec.get("model"),
        "format": job.spec.get("format"),
        "target": job.spec.get(_TARGETS.get(operation, "")),
        "phase": view.phase if running else None,
        "done": view.step,
        "total": view.total_steps,
        "elapsed_seconds": job.elapsed_seconds(now),
        "created_at": view.created_at,
        "ended_at": view.ended_at,
        "warnings": [{"what": warning.what, "why": warning.why} for warning in view.warnings],
        "error": dict(view.error),
        "result": job_result(view),
    }

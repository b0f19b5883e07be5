"""Jobs as the dashboard lists them: immutable views built from their journals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mg_tui.core.text import one_line
from mg_tui.runs.job_results import headline
from mg_tui.runs.model_jobs import ModelJobFolder, job_record
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary


@dataclass(frozen=True, slots=True)
class JobItem:
    """One job. Texts are printable; times in seconds.

    Attributes:
        what: the operation, with the format of an export.
        target: what the model becomes, goes to, or is compared with.
        progress: the share that is done; None when unknown.
        status_text: what it does, what came of it, or what ended it, in a sentence.
        result: of a finished job, as its command prints it; None of another one.
    """

    folder: ModelJobFolder
    operation: str
    what: str
    model: str
    target: str
    state: RunState
    stop_requested: bool
    progress: float | None
    elapsed: float | None
    status_text: str
    result: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def id(self) -> str:
        """The job's id."""
        return self.folder.id

    @property
    def title(self) -> str:
        """What is done with what."""
        return f"{self.what} {self.model}"


def build_job(summary: RunSummary, now: float) -> JobItem:
    """The list's view of a job at `now` (Unix seconds)."""
    record, state = job_record(summary, now), summary.state
    operation = record["operation"]
    words = [operation, str(record["format"]) if operation == "export" else ""]
    share = min(record["done"] / record["total"], 1.0) if record["total"] else None
    return JobItem(
        folder=ModelJobFolder(summary.folder.path),
        operation=operation,
        what=one_line(" ".join(filter(None, words)), limit=40),
        model=_short(record["model"]),
        target=_short(record["target"]),
        state=state,
        stop_requested=state is RunState.RUNNING and summary.view.stop_requested,
        progress=1.0 if state is RunState.FINISHED else share,
        elapsed=record["elapsed_seconds"],
        status_text=_status(summary, record),
        result=record["result"],
    )


def _short(name: object) -> str:
    """A folder by its last part, that of a run's result by the run."""
    parts = str(name or "").rstrip("/").split("/")
    if len(parts) > 2 and not parts[0]:
        parts = [parts[-2] if parts[-1] == "model" else parts[-1]]
    return one_line("/".join(parts), limit=120)


def _status(summary: RunSummary, record: Mapping[str, Any]) -> str:
    match summary.state:
        case RunState.RUNNING:
            text = record["phase"] or "starting"
        case RunState.FINISHED if record["result"] is not None:
            text = headline(record["operation"], record["result"])
        case RunState.FAILED:
            error = record["error"]
            text = "; ".join(str(error[name]) for name in ("what", "why", "hint") if error.get(name))
        case RunState.STOPPED:
            text = f"by {summary.view.result.get('by', 'somebody')}; what was written in part was removed"
        case RunState.CRASHED | RunState.INTERRUPTED:
            text = "its process ended without an error; the log has its last words"
        case _:
            text = summary.problem or "its process has not started yet"
    return one_line(text, limit=600)

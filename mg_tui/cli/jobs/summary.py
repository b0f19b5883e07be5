"""Jobs as lines: the list, and the page of one."""

from collections.abc import Sequence
from typing import Any, Final

from mg_tui.cli.formatting import UNKNOWN, format_duration
from mg_tui.cli.jobs.display import format_job_outcome
from mg_tui.cli.tables import format_table
from mg_tui.core.text import one_line, printable
from mg_tui.runs.model_jobs import job_record
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary

_COLUMNS: Final = ("ID", "STATE", "WHAT", "DONE", "TIME", "MODEL", "TO")


def format_jobs(jobs: Sequence[RunSummary], now: float, *, width: int | None) -> list[str]:
    """One line a job under a line of headings."""
    return format_table(_COLUMNS, [_row(job, now) for job in jobs], width=width, right=("DONE", "TIME"))


def format_job_page(job: RunSummary, now: float) -> list[str]:
    """Everything a person wants to know of one job."""
    record = job_record(job, now)
    facts = [
        ("id", printable(job.id)),
        ("state", f"{job.state.glyph} {job.state_text}"),
        ("problem", job.problem and one_line(job.problem)),
        ("folder", printable(str(job.folder.path))),
        ("what", _what(record)),
        ("model", one_line(str(record["model"]), limit=400)),
        ("to", one_line(str(record["target"]), limit=400)),
        ("now", record["phase"] and f"{one_line(record['phase'])} ({_done(record)})"),
        ("time", format_duration(record["elapsed_seconds"])),
    ]
    lines = [f"{label:<9}{value}" for label, value in facts if value not in (None, "", UNKNOWN)]
    lines += [one_line(f"warning  {w['what']}" + (f": {w['why']}" if w["why"] else "")) for w in record["warnings"]]
    last = format_job_outcome(job.folder, job.view, job.state)
    return [*lines, "", *last] if last else lines


def _row(job: RunSummary, now: float) -> list[str]:
    record = job_record(job, now)
    return [
        printable(job.id),
        f"{job.state.glyph} {job.state_text}",
        _what(record),
        _done(record) if job.state is RunState.RUNNING else UNKNOWN,
        format_duration(record["elapsed_seconds"]),
        one_line(str(record["model"]), limit=60),
        one_line(str(record["target"])),
    ]


def _what(record: dict[str, Any]) -> str:
    parts = [record["operation"], record["format"] if record["operation"] == "export" else None]
    return one_line(" ".join(str(part) for part in parts if part))


def _done(record: dict[str, Any]) -> str:
    return f"{record['done'] / record['total']:.0%}" if record["total"] else UNKNOWN

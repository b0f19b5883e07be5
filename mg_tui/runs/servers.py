"""Servers: folders under `<home>/servers`, made, started, followed, stopped and listed with the code of runs.

<id>/
  spec.json, events.jsonl, worker.log, lock, control/    as of a run
  status.json       requests, latency and models of the running server, every second
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary, list_running

if TYPE_CHECKING:
    from mg_tui.core.serve_spec import ServeSpec

STATUS_SECONDS: Final = 1.0  # between two writes of the status


@dataclass(frozen=True, slots=True)
class ServerFolder(RunFolder):
    """One server's folder. Of a run's, checkpoints, samples and model stay empty."""

    parent: ClassVar[str] = "servers"
    noun: ClassVar[str] = "server"
    command: ClassVar[str] = "servers"
    worker: ClassVar[str] = "mg_tui.engine.serving"
    process: ClassVar[str] = "server process"

    @property
    def status_file(self) -> Path:
        """What the running server has done so far."""
        return self.path / "status.json"

    def read_serve_spec(self) -> "ServeSpec":
        """What was asked.

        Raises:
            UsageError: there is no readable spec; a SpecError when a field of it cannot be used by this version.
        """
        from mg_tui.core.serve_spec import ServeSpec

        return ServeSpec.parse(self.spec_values(), where=str(self.spec_file))

    def read_status(self) -> dict[str, Any]:
        """The newest status; empty before the first."""
        try:
            content = json.loads(self.status_file.read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def running_servers(home: Path) -> list[RunSummary]:
    """The servers that run now, newest first."""
    return list_running(home, ServerFolder)


def server_record(summary: RunSummary, now: float | None = None) -> dict[str, Any]:
    """One server as JSON values: state, address, models, requests, latency and proofs."""
    folder = ServerFolder(summary.folder.path)
    status = folder.read_status()
    running = summary.state is RunState.RUNNING
    now = time.time() if now is None else now
    return {
        "id": summary.id,
        "state": str(summary.state),
        "models": status.get("models") or list(summary.spec.get("models") or ()),
        "url": status.get("url") if running else None,
        "engine": status.get("engine"),
        "started": summary.view.started_at,
        "seconds": summary.view.elapsed_seconds(now),
        **{name: status.get(name) for name in ("requests", "failed", "refused", "answering", "waiting")},
        "requests_per_second": status.get("requests_per_second") if running else None,
        **{name: status.get(name) for name in ("first_token_seconds", "latency_seconds", "proof")},
    }

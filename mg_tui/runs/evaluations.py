"""Evaluations: folders under `<home>/evaluations`, made, started, followed, stopped and listed with the code of runs.

<id>/
  spec.json, events.jsonl, worker.log, lock, control/    as of a run
  results/          the answers and scores of MODEL (`mg_tui.metrics.results`)
  before/           those of the model it is compared with
  comparison.json   what changed from one to the other
  speed.json        latency, throughput and memory, if they were measured
  fields.json       the dataset's fields that were read, by purpose
  skipped_rows.jsonl
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mg_tui.core.errors import UsageError
from mg_tui.runs import launch
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.watch import RunWatch

if TYPE_CHECKING:
    from mg_tui.core.evaluation_spec import EvaluationSpec


@dataclass(frozen=True, slots=True)
class EvaluationFolder(RunFolder):
    """One evaluation's folder. Of a run's, checkpoints, samples and model stay empty."""

    parent: ClassVar[str] = "evaluations"
    noun: ClassVar[str] = "evaluation"
    command: ClassVar[str] = "evaluations"
    worker: ClassVar[str] = "mg_tui.engine.evaluation"
    process: ClassVar[str] = "evaluation process"

    @property
    def results_dir(self) -> Path:
        """Answers and scores of the model."""
        return self.path / "results"

    @property
    def before_dir(self) -> Path:
        """Answers and scores of the model it is compared with."""
        return self.path / "before"

    @property
    def comparison_file(self) -> Path:
        """What changed from one model to the other."""
        return self.path / "comparison.json"

    @property
    def speed_file(self) -> Path:
        """Latency, throughput and memory."""
        return self.path / "speed.json"

    @property
    def fields_file(self) -> Path:
        """The dataset's fields that were read: text, image, response."""
        return self.path / "fields.json"

    def read_evaluation_spec(self) -> "EvaluationSpec":
        """What was asked.

        Raises:
            UsageError: there is no readable spec; a SpecError when a field of it cannot be used by this version.
        """
        from mg_tui.core.evaluation_spec import EvaluationSpec

        return EvaluationSpec.parse(self.spec_values(), where=str(self.spec_file))


def read_json_file(path: Path) -> dict[str, Any] | None:
    """A JSON object of an evaluation's folder; None when it is not there, or not readable."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def require_resumable(folder: EvaluationFolder) -> int:
    """How often an evaluation was started that can go on.

    Raises:
        UsageError: it is running or finished, or its spec cannot be read.
    """
    watch = RunWatch(folder)
    watch.refresh()
    if watch.state is RunState.RUNNING:
        raise UsageError(f"Evaluation {folder.id} is running.", hint=f"model-garden evaluations watch {folder.id}")
    if watch.state is RunState.FINISHED:
        raise UsageError(
            f"Evaluation {folder.id} is already finished.", hint=f"model-garden evaluations show {folder.id}"
        )
    folder.read_evaluation_spec()
    return watch.view.attempt


def resume_evaluation(folder: EvaluationFolder, gpus: Sequence[str] | None = None) -> int:
    """Start the process of an evaluation again; returns how often it had been started before.

    Args:
        gpus: devices by name; by default those of before.

    Raises:
        UsageError: as `require_resumable`.
        RunFailed, EnvironmentProblem: as `launch.start_worker`.
    """
    attempts = require_resumable(folder)
    launch.start_worker(folder, gpus)
    return attempts

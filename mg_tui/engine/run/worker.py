"""The worker of a run: every outcome becomes one lifecycle event and an exit code.

The lock is taken first and released by the kernel however the process ends, so a run without a final event is
recognized as crashed. Every other run ends in `finished`, `stopped` or `failed`.
"""

import os
import socket
import sys
import traceback
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mg_tui.config import Settings, load_settings
from mg_tui.core.errors import GardenError
from mg_tui.core.text import first_line, pluralize
from mg_tui.engine.checkpointing import writer
from mg_tui.engine.layout.partition import World
from mg_tui.engine.monitoring.final_event import write_failure, write_final_event
from mg_tui.engine.monitoring.known_causes import to_known_error
from mg_tui.engine.monitoring.rank_health import RankHealth
from mg_tui.engine.monitoring.run_history import RunHistory, read_run_history
from mg_tui.engine.monitoring.scratch import scratch_folder
from mg_tui.engine.monitoring.stopping import StopHandler, StopRequested
from mg_tui.engine.run.rank_supervisor import die_with_parent
from mg_tui.runs import checkpoint_format
from mg_tui.runs.current_step import read_current_step
from mg_tui.runs.devices import DeviceLocks
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.heartbeat import HEARTBEAT_SECONDS
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lifetime import current_lifetime
from mg_tui.runs.lock import RunLock
from mg_tui.runs.queue import remove_queue_record
from mg_tui.runs.resume import clear_resume_target, read_resume_step
from mg_tui.runs.versions import package_versions

_MERGE_SECONDS = 1.0  # in which a rank gets one signal twice


def run_worker(path: Path) -> int:
    """Start or resume a run; returns the exit code.

    A run with a complete checkpoint resumes from the newest one.
    """
    folder, world = RunFolder(path.absolute()), World.from_environment()
    health: AbstractContextManager[RankHealth | None] = nullcontext()
    if world.size > 1:
        die_with_parent()
        health = RankHealth(folder.path, world.rank)
    try:
        with (
            RunLock(folder.lock_file) as lock,
            JournalWriter(folder.journal_file) as journal,
            scratch_folder(),
            health as noted,
        ):
            return _Worker(folder, journal, lock, noted).run()
    except GardenError as error:  # no lock, or no journal to write it into
        sys.stderr.write(f"{error}\n")
        return error.exit_code


class _Worker:
    def __init__(self, folder: RunFolder, journal: JournalWriter, lock: RunLock, health: RankHealth | None = None):
        self.health = health
        self.folder = folder
        self.journal = journal
        self.lock = lock
        self.resume_from: Path | None = None
        self.devices = DeviceLocks(folder.path.parent.parent)  # held for as long as this process lives

    def run(self) -> int:
        history = read_run_history(self.folder)
        writer.remove_unfinished(self.folder.checkpoints_dir)
        resume_step = read_resume_step(self.folder)
        self.resume_from, damaged = checkpoint_format.newest_valid(self.folder.checkpoints_dir, until=resume_step)
        self.journal.write(
            "started",
            pid=os.getpid(),
            host=socket.gethostname(),
            attempt=history.attempts + 1,
            resumed_from=checkpoint_format.step_of(self.resume_from) if self.resume_from else None,
            home=str(self.folder.path.parent.parent),
            lifetime=current_lifetime().as_dict(),
            heartbeat=HEARTBEAT_SECONDS,
            versions=package_versions(),
        )
        remove_queue_record(self.folder)  # it has started
        if resume_step is not None:
            self._remove_later_checkpoints(resume_step)
        if shared := self.devices.adopt():
            self.journal.write("warning", what=shared)
        if history.damaged_lines:
            self.journal.write(
                "warning",
                what=f"{pluralize(history.damaged_lines, 'line')} of the journal cannot be read and will be ignored",
                where=str(self.folder.journal_file),
                why="; ".join(history.damage),
            )
        for broken, problem in damaged:
            self.journal.write(
                "warning",
                what="a checkpoint is damaged and is skipped",
                where=broken.relative_to(self.folder.path).as_posix(),
                why=problem,
            )
        merge = _MERGE_SECONDS if self.health is not None else 0.0
        with StopHandler(self.folder, self.journal, self.lock, merge=merge) as stopper:
            return self._run_training(stopper, history)

    def _remove_later_checkpoints(self, step: int) -> None:
        """Remove the checkpoints after the step the run resumes from: from there on it differs."""
        for removed in writer.remove_after(self.folder.checkpoints_dir, step):
            self.journal.write(
                "checkpoint_removed",
                step=checkpoint_format.step_of(removed),
                path=removed.relative_to(self.folder.path).as_posix(),
                why=f"the run resumes from step {step}",
            )
        clear_resume_target(self.folder)

    def _run_training(self, stopper: StopHandler, history: RunHistory) -> int:
        training: Any = None
        try:
            from mg_tui.engine.run.training import TrainingRun

            training = TrainingRun(
                self.folder,
                self.journal,
                stopper,
                self._settings(history.cwd),
                history.cwd,
                self.resume_from,
                history,
                self.health,
            )
            result = training.run()
        except StopRequested as stopped:
            stopper.poll(raise_on="never")
            reached = self._stop_position(training)
            if stopper.checkpoint_seconds is not None:
                reached["checkpoint_seconds"] = stopper.checkpoint_seconds
            usage = _gpu_usage(training)
            write_final_event(self.journal, "stopped", **reached, **usage, by=stopper.stop_by or stopped.by)
            return 0
        except Exception as error:
            if not isinstance(error, GardenError):
                traceback.print_exc()
            return self._failed(*self._describe(error), training, error)
        write_final_event(self.journal, "finished", **result, **_gpu_usage(training))
        return 0

    def _describe(self, error: Exception) -> tuple[dict[str, Any], int]:
        """The record of an error, and the exit code."""
        known = to_known_error(error, self.folder, self.lock)
        return (self._describe_unexpected(error), 1) if known is None else (known.as_dict(), known.exit_code)

    def _describe_unexpected(self, error: Exception) -> dict[str, Any]:
        """The error record of an exception that is not a GardenError."""
        why = first_line(error)[:500]
        record = {"error": type(error).__name__, "where": str(self.folder.log_file), "why": why}
        if type(error).__name__ == "OutOfMemoryError":
            hint = "lower max_pixels or max_seq_length, or quantize (quantization nf4); see who else uses the GPU"
            return {**record, "what": "out of GPU memory", "hint": hint, "cause": "no memory"}
        if isinstance(error, MemoryError) or "can't allocate memory" in why:
            hint = "free memory of this machine, or lower max_pixels, max_seq_length or workers"
            return {**record, "what": "out of memory of this machine", "hint": hint, "cause": "no memory"}
        what = f"unexpected error: {type(error).__name__}"
        return {**record, "what": what, "hint": "the log has the traceback; please report it"}

    def _settings(self, cwd: Path) -> Settings:
        # The home is the one the run is in, whatever the environment says now.
        return load_settings(home=self.folder.path.parent.parent, cwd=cwd)

    def _failed(self, described: dict[str, Any], code: int, training: Any, error: Exception) -> int:
        facts = {name: getattr(error, name, None) for name in ("step", "rows", "cause")}
        if training is not None:
            facts = self._locate_failure(training, facts, ours=isinstance(error, GardenError))
        known = {name: value for name, value in facts.items() if value is not None}
        return write_failure(self.journal, described, code, **known, **_gpu_usage(training))

    def _locate_failure(self, training: Any, facts: dict[str, Any], *, ours: bool) -> dict[str, Any]:
        """The step, its rows and their images; an unexpected error belongs to the step that had begun."""
        if facts["rows"]:
            facts["images"] = training.image_paths_of(facts["step"], facts["rows"])
        elif facts["step"] is None:
            begun = None if ours else read_current_step(self.folder)
            if begun is not None and begun.step == training.step + 1:
                return asdict(begun)
            facts["step"] = training.step
        return facts

    def _stop_position(self, training: Any) -> dict[str, Any]:
        """The last step of the run, and the newest checkpoint it can resume from."""
        newest, _damaged = checkpoint_format.newest_valid(self.folder.checkpoints_dir)
        return {
            "step": training.step if training is not None else 0,
            "checkpoint": newest.relative_to(self.folder.path).as_posix() if newest else None,
        }


def _gpu_usage(training: Any) -> dict[str, float]:
    """The GPU usage of the run so far."""
    return {} if training is None else dict(training.gpu_usage())

"""The ranks of a run among themselves: they meet before the first step, and end together when one is lost."""

import itertools
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, RunFailed
from mg_tui.core.spec import UNATTENDED_FIELDS, TrainingSpec
from mg_tui.core.text import first_few, first_line
from mg_tui.engine.monitoring.rank_health import CONCLUDING, RankHealth, summarize_ranks
from mg_tui.engine.run.distributed import ConnectionLost, GradientSync
from mg_tui.engine.run.process_group import join_group, require_same
from mg_tui.engine.run.setup import RunContext
from mg_tui.engine.run.training_data import TrainingData, fingerprint
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.ranks import RankNotes
from mg_tui.runs.versions import package_versions

_REPORT_SECONDS: Final = 10.0  # between two `ranks` events
_VERDICT_SECONDS: Final = 10.0  # beyond the time-out of a rank, until its supervisor has written which was lost
_DAY: Final = 86_400.0  # the supervisor of one machine ends a rank that does not come
# What may differ between the commands of several machines.
_OWN_FIELDS: Final = UNATTENDED_FIELDS | {"name", "output_dir", "report_to", "dataset", "image_root", "eval_dataset"}


class RankLost(RunFailed):
    """Another rank ended, stalled or failed. `record` has the fields of the `failed` event."""

    def __init__(self, record: Mapping[str, Any]):
        texts = {name: record.get(name) for name in ("where", "why", "hint")}
        super().__init__(str(record["what"]), **texts)
        self.record = dict(record)
        self.step, self.rows = record.get("step"), tuple(record.get("rows") or ())
        self.cause = record.get("cause")

    def as_dict(self) -> dict[str, object]:
        return self.record


def meet_other_ranks(
    sync: GradientSync, spec: TrainingSpec, context: RunContext, data: TrainingData, facts: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Set up the process group and compare what all ranks are about to do; returns warnings (what, why).

    Raises:
        EnvironmentProblem: not all of them came.
        UsageError: they differ in versions, options, data or `facts`.
    """
    world, placement = sync.world, context.placement
    join_group(world, cuda=placement.cuda, patience=spec.rendezvous_timeout if spec.nodes > 1 else _DAY)
    options = {name: value for name, value in spec.model_dump(mode="json").items() if name not in _OWN_FIELDS}
    compared = {
        **{f"version of {name}": version for name, version in package_versions().items()},
        **options,
        **facts,
        "data": fingerprint(data.train),
        "dtype": placement.dtype,
        "quantization": placement.quantization,
        "processes of a machine": world.local_size,
    }
    require_same(sync.gather(compared))
    titles = sync.gather(placement.device_title)
    if len(set(titles)) == 1:
        return []
    kinds = [f"{title} ({len(list(same))} times)" for title, same in itertools.groupby(sorted(titles))]
    return [("the devices are of different kinds", f"{first_few(kinds, 4)}: each step waits for the slowest")]


def end_after_loss(
    folder: RunFolder, health: RankHealth, trainer: Any, patience: float, error: ConnectionLost
) -> RankLost:
    """In a rank that leads, after the connection broke: save the last whole step; returns the error that ends the run.

    Args:
        folder: the run.
        health: of this rank; tells its supervisor to wait.
        trainer: has the weights of the last whole step.
        patience: seconds after which a rank that does not respond counts as lost.
        error: what the collective failed with.
    """
    health.say(CONCLUDING)
    health.write()
    saved = _save_alone(trainer)
    notes = RankNotes(folder.path)
    lost = notes.wait_for_lost(patience + _VERDICT_SECONDS)
    if lost is None:
        record: dict[str, Any] = {
            "error": "RunFailed",
            "what": "the connection to the other training processes was lost",
            "where": health.note.place,
            "why": f"{first_line(error)}; {saved}",
            "hint": "see whether the other machines run and can be reached, and resume the run",
            "step": health.note.step or None,
        }
        return RankLost(record)
    return RankLost(lost.failure(saved))


def _save_alone(trainer: Any) -> str:
    """Save the checkpoint of the last whole step without the other ranks; says what came of it."""
    try:
        trainer.save_without_step()
    except EnvironmentProblem as problem:
        return f"no checkpoint could be written: {problem.what}"
    return f"checkpoint of step {trainer.state.global_step} saved" if trainer.state.global_step else "no step was done"


class RankReporter:
    """Writes how all ranks are to the journal, every few seconds, from a thread. For rank 0."""

    def __init__(self, folder: RunFolder, journal: JournalWriter):
        self._notes = RankNotes(folder.path)
        self._journal = journal
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._report_on, name="rank reporter", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop it, and write how the ranks are now."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self.write()

    def write(self) -> None:
        """Write one `ranks` event."""
        try:
            self._journal.write("ranks", ranks=summarize_ranks(self._notes.read_all(), time.time()))
        except (OSError, ValueError, EnvironmentProblem) as error:  # no journal: the run goes first
            sys.stderr.write(f"ranks: {error}\n")

    def _report_on(self) -> None:
        self.write()
        while not self._ended.wait(_REPORT_SECONDS):
            self.write()

"""How the runs of a sweep stand: their states and scores, from their journals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mg_tui.core.errors import GardenError
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lock import is_held
from mg_tui.runs.state import RunState
from mg_tui.runs.sweeps.folder import Sweep, SweepFolder, SweepRun, SweepState
from mg_tui.runs.view import RunView
from mg_tui.runs.watch import RunWatch

TRAINING_LOSS = "training loss"
_TRAINING_POINTS = 10  # newest steps whose mean is the training loss


@dataclass(frozen=True, slots=True)
class Standing:
    """One run of a sweep as it is now.

    Attributes:
        run: the run.
        state: None when its folder is missing.
        view: its journal; empty then.
        folder: its folder.
        has_process: a worker or a waiting process holds its lock.
    """

    run: SweepRun
    state: RunState | None
    view: RunView
    folder: RunFolder
    has_process: bool = False

    @property
    def paused(self) -> bool:
        """Whether it stopped by itself to be compared."""
        return self.state is RunState.STOPPED and str(self.view.result.get("by", "")).startswith("sweep ")

    def scores(self, metric: str) -> dict[int, float]:
        """The finite scores of its evaluations by step."""
        found = {each.step: each.loss if metric == "loss" else each.metrics.get(metric) for each in self.view.evals}
        return {step: score for step, score in found.items() if score is not None and math.isfinite(score)}

    def score_after(self, metric: str, step: int) -> float | None:
        """The score of the newest evaluation up to a step; None when there is none, or it is no number."""
        steps = [each.step for each in self.view.evals if each.step <= step]
        return self.scores(metric).get(max(steps)) if steps else None

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """Scores over the steps; of the training loss, each point is a step."""
        if metric == TRAINING_LOSS:
            pairs = zip(self.view.series.steps, self.view.series.loss, strict=True)
            return [(step, loss) for step, loss in pairs if math.isfinite(loss)]
        return sorted(self.scores(metric).items())


@dataclass(frozen=True, slots=True)
class Score:
    """What a run is compared by: a value, and the step it is of."""

    value: float
    step: int


class SweepWatch:
    """A sweep and its runs, read again by `refresh`, which only reads what is new."""

    def __init__(self, folder: SweepFolder) -> None:
        self.folder = folder
        self.sweep = folder.read()
        self.state = SweepState()
        self.standings: tuple[Standing, ...] = ()
        self._watches: dict[str, RunWatch] = {}

    def refresh(self) -> tuple[Standing, ...]:
        """The runs as they are now, in the order of the sweep."""
        self.state = self.folder.read_state()
        self.standings = tuple(self._standing(run) for run in self.sweep.runs)
        return self.standings

    def _standing(self, run: SweepRun) -> Standing:
        folder = self.folder.run_folder(run)
        if not folder.journal_file.exists():
            self._watches.pop(run.id, None)
            return Standing(run, None, RunView(), folder)
        watch = self._watches.setdefault(run.id, RunWatch(folder))
        try:
            watch.refresh()
        except GardenError:
            return Standing(run, None, RunView(), folder)
        return Standing(run, watch.state, watch.view, folder, watch.lock_held)

    @property
    def metric(self) -> str:
        """What the runs are compared by now: the training loss until, or unless, one of them was evaluated."""
        evaluated = any(standing.scores(self.sweep.metric) for standing in self.standings)
        return self.sweep.metric if evaluated else TRAINING_LOSS

    def score(self, standing: Standing) -> Score | None:
        """What a run is compared by: the evaluation its result is taken from; None when it has none."""
        return score_of(standing, self.metric, self.sweep)

    def ranked(self) -> list[Standing]:
        """The runs that count, the best first: those that ended by themselves, or, while none has, all with a score."""
        scored = [each for each in self.standings if self.score(each) is not None]
        finished = [each for each in scored if each.state is RunState.FINISHED]
        sign = -1.0 if self.sweep.higher_is_better and self.metric != TRAINING_LOSS else 1.0

        def key(standing: Standing) -> tuple[float, int]:
            score = self.score(standing)
            return (sign * score.value if score is not None else math.inf, standing.run.number)

        return sorted(finished or scored, key=key)


def score_of(standing: Standing, metric: str, sweep: Sweep) -> Score | None:
    """A run's score by a metric."""
    if metric == TRAINING_LOSS:
        losses = standing.curve(metric)[-_TRAINING_POINTS:]
        return Score(sum(loss for _step, loss in losses) / len(losses), int(losses[-1][0])) if losses else None
    scores = standing.scores(metric)
    if not scores:
        return None
    if standing.run.spec.get("result_from") == "best":
        better = max if sweep.higher_is_better else min
        step = better(scores, key=lambda step: scores[step])
    else:
        step = max(scores)
    return Score(scores[step], step)


def describe_state(watch: SweepWatch, standing: Standing) -> str:
    """The state of a run of a sweep in words: `finished`, `given up after step 200`, `waits for the others`."""
    if standing.state is None:
        return "removed" if watch.state.created else "not created yet"
    dropped = watch.state.dropped_at(standing.run.number)
    if dropped is not None and standing.state is not RunState.FINISHED:
        return f"given up after step {watch.sweep.rungs[dropped].after}"
    if standing.paused:
        return f"waits at step {standing.view.step} for the others"
    if standing.state is RunState.RUNNING and standing.view.phase not in (None, "training"):
        return f"running ({standing.view.phase})"
    return standing.state.label


def sweep_record(watch: SweepWatch, *, driver_runs: bool) -> dict[str, Any]:
    """A sweep as plain values, for JSON and an API."""
    sweep, ranked = watch.sweep, watch.ranked()
    return {
        "name": sweep.name,
        "path": str(watch.folder.path),
        "created_at": sweep.created_at,
        "metric": watch.metric,
        "higher_is_better": sweep.higher_is_better and watch.metric != TRAINING_LOSS,
        "over": dict(sweep.over),
        "rungs": [{"keep": rung.keep, "after": rung.after} for rung in sweep.rungs],
        "done": watch.state.done,
        "stopped": watch.folder.stop_file.exists(),
        "driver": driver_runs,
        "best": ranked[0].run.id if ranked else None,
        "runs": [_run_record(watch, standing, ranked) for standing in watch.standings],
    }


def _run_record(watch: SweepWatch, standing: Standing, ranked: Sequence[Standing]) -> dict[str, Any]:
    score, view = watch.score(standing), standing.view
    return {
        "number": standing.run.number,
        "id": standing.run.id,
        "values": dict(standing.run.values),
        "state": standing.state.value if standing.state is not None else None,
        "state_text": describe_state(watch, standing),
        "rank": ranked.index(standing) + 1 if standing in ranked else None,
        "score": score.value if score is not None else None,
        "score_step": score.step if score is not None else None,
        "step": view.step,
        "total_steps": view.total_steps,
        "path": str(standing.folder.path),
    }


def has_driver(folder: SweepFolder) -> bool:
    """Whether the sweep's driver runs."""
    return is_held(folder.lock_file)

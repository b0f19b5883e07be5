"""What a sweep does next: a pure function of its definition, its decisions so far and the states of its runs."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mg_tui.runs.interrupted import MAX_STARTS_WITHOUT_STEP
from mg_tui.runs.pause import Pause
from mg_tui.runs.state import RunState
from mg_tui.runs.sweeps.folder import Rung, Sweep, SweepState
from mg_tui.runs.sweeps.standing import Standing

MAX_WAITING: Final = 8  # queued runs at once: each has a waiting process


@dataclass(frozen=True, slots=True)
class NextActions:
    """The runs to add to the queue, the steps after which they pause, and the decisions afterwards.

    Attributes:
        start: runs that are queued for the first time.
        resume: runs that crashed, were interrupted, or continue after they were compared.
        pause: what all of those are given.
        state: the decisions.
    """

    start: tuple[Standing, ...]
    resume: tuple[Standing, ...]
    pause: Pause | None
    state: SweepState


def next_actions(
    sweep: Sweep, state: SweepState, standings: Sequence[Standing], lost: Collection[int] = ()
) -> NextActions:
    """What to do now. Runs that somebody stopped, and failed ones, are left alone.

    Args:
        sweep: what was asked for.
        state: what has been decided.
        standings: the runs as they are.
        lost: numbers of runs that cannot be queued.
    """
    standings = [each for each in standings if each.run.number not in lost]
    if state.created and len(state.kept) < len(sweep.rungs):
        rung = sweep.rungs[len(state.kept)]
        contestants = [each for each in standings if _contends(each, state)]
        if contestants and all(_has_arrived(each, rung) for each in contestants):
            kept = _best_numbers(sweep, rung, contestants)
            state = replace(state, kept=(*state.kept, tuple(sorted(kept))))
    open_rung = sweep.rungs[len(state.kept)] if len(state.kept) < len(sweep.rungs) else None
    left = [each for each in standings if state.dropped_at(each.run.number) is None]
    waiting = sum(each.state is RunState.QUEUED for each in standings)
    room = max(MAX_WAITING - waiting, 0)
    resume = [each for each in left if _is_to_resume(each, open_rung)][:room]
    start = [each for each in left if each.state is RunState.CREATED and not each.has_process][: room - len(resume)]
    unfinished = [each for each in left if not _is_over(each, open_rung)]
    return NextActions(
        tuple(start),
        tuple(resume),
        None if open_rung is None else Pause(open_rung.after, sweep.by),
        replace(state, done=state.created and not unfinished and open_rung is None),
    )


def _contends(standing: Standing, state: SweepState) -> bool:
    return state.dropped_at(standing.run.number) is None and standing.state is not None


def _has_arrived(standing: Standing, rung: Rung) -> bool:
    """Whether a run will not come further before the comparison."""
    if standing.state in (RunState.FINISHED, RunState.FAILED):
        return True
    if standing.state is RunState.STOPPED:
        return not standing.paused or standing.view.step >= rung.after
    return _is_hopeless(standing)


def _best_numbers(sweep: Sweep, rung: Rung, contestants: Sequence[Standing]) -> list[int]:
    """The numbers of the runs that continue: the best by their score at the rung; of equal ones the first."""
    sign = -1.0 if sweep.higher_is_better else 1.0

    def key(standing: Standing) -> tuple[float, int]:
        score = standing.score_after(sweep.metric, rung.after)
        alive = standing.state is RunState.FINISHED or standing.paused
        return (sign * score if score is not None and alive else math.inf, standing.run.number)

    ranked = sorted(contestants, key=key)
    return [each.run.number for each in ranked[: rung.keep] if math.isfinite(key(each)[0])]


def _is_to_resume(standing: Standing, rung: Rung | None) -> bool:
    if standing.state in (RunState.CRASHED, RunState.INTERRUPTED):
        return not _is_hopeless(standing)
    # Paused for a comparison that has been made, or stopped by it before its time.
    return standing.paused and (rung is None or standing.view.step < rung.after)


def _is_hopeless(standing: Standing) -> bool:
    """Whether a run died again and again without a step: it may be what crashes the machine."""
    dead = standing.state in (RunState.CRASHED, RunState.INTERRUPTED)
    return dead and standing.view.starts_without_step >= MAX_STARTS_WITHOUT_STEP


def _is_over(standing: Standing, rung: Rung | None) -> bool:
    """Whether nothing more is to be expected of a run."""
    if standing.state in (None, RunState.FINISHED, RunState.FAILED):
        return True
    if standing.state is RunState.STOPPED:
        return not _is_to_resume(standing, rung)
    return _is_hopeless(standing)

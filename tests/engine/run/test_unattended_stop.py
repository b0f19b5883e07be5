"""Stops while nobody looks: SIGTERM in a step that takes too long, and a run that has cost what it may."""

import os
import signal
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mg_tui.core.errors import UsageError
from mg_tui.engine.monitoring.budget import Budget
from mg_tui.engine.monitoring.stop_grace import StepAbandoned, StopGrace, choose_stop_grace
from mg_tui.engine.run.trainer import GardenTrainer
from mg_tui.engine.run.worker import run_worker
from mg_tui.runs import checkpoint_format
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.resume import commit_resume_target, find_resume_target
from tests.engine.run.test_resume import Start, events, start, steps

__all__ = ["start"]

OPTIONS = {"layout": "padded", "lora_dropout": 0.2, "save_steps": 100, "max_steps": 4}


def terminate_in(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send SIGTERM after the first forward pass of a step, once."""
    real = GardenTrainer._forward_backward
    sent: list[int] = []

    def forward_backward(self: GardenTrainer, model: Any, part: Any, scale: float) -> torch.Tensor:
        loss = real(self, model, part, scale)
        if self.state.global_step + 1 == step and not sent:
            sent.append(step)
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    monkeypatch.setattr(GardenTrainer, "_forward_backward", forward_backward)


def test_an_abandoned_step_loses_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint is that of the step before, and the run goes on from it bit for bit, with dropout."""
    whole = start(**OPTIONS)
    assert run_worker(whole.path) == 0
    folder = start(**OPTIONS, stop_grace=0.001)
    terminate_in(monkeypatch, 3)
    assert run_worker(folder.path) == 0
    (stopped,) = events(folder, "stopped")
    assert stopped.data["step"] == 2 and stopped.data["by"] == "signal SIGTERM"
    assert stopped.data["checkpoint"] == "checkpoints/step-000002"
    assert 0 <= stopped.data["checkpoint_seconds"] < 60
    assert "step 3 was abandoned" in str([event.data["what"] for event in events(folder, "warning")])
    assert run_worker(folder.path) == 0
    for name in ("loss", "grad_norm"):
        assert [step[name] for step in steps(folder)] == [step[name] for step in steps(whole)], name
    one, other = (load_file(next(run.model_dir.glob("*model.safetensors"))) for run in (whole, folder))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_container_that_is_killed_soon_does_not_wait_for_the_step(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = start(**OPTIONS)
    monkeypatch.setenv("GARDEN_STOP_SECONDS", "0.001")
    terminate_in(monkeypatch, 3)
    assert run_worker(folder.path) == 0
    (stopped,) = events(folder, "stopped")
    assert (stopped.data["step"], stopped.data["checkpoint"]) == (2, "checkpoints/step-000002")


@pytest.mark.parametrize(
    ("option", "container", "processes", "expected"),
    [
        (None, None, 1, None),
        (None, "10", 1, 10.0),
        (None, "10", 2, None),
        (30.0, "10", 2, 30.0),
        (30.0, "10", 1, 30.0),
        (None, "ten", 1, None),
        (None, "-1", 1, None),
        (None, "nan", 1, None),
        (None, "", 1, None),
    ],
)
def test_the_grace_is_the_runs_own_or_that_of_its_container(
    option: float | None, container: str | None, processes: int, expected: float | None
) -> None:
    environment = {} if container is None else {"GARDEN_STOP_SECONDS": container}
    assert choose_stop_grace(option, environment, processes=processes) == expected


@pytest.mark.parametrize("grace", [None, 1000.0])
def test_a_step_that_fits_is_finished(start: Start, monkeypatch: pytest.MonkeyPatch, grace: float | None) -> None:
    folder = start(**OPTIONS, stop_grace=grace)
    terminate_in(monkeypatch, 2)
    assert run_worker(folder.path) == 0
    (stopped,) = events(folder, "stopped")
    assert (stopped.data["step"], stopped.data["checkpoint"]) == (2, "checkpoints/step-000002")
    assert stopped.data["checkpoint_seconds"] > 0


def test_a_run_that_has_cost_what_it_may_saves_and_stops(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_GARDEN_COST_PER_HOUR", "1000000")
    folder = start(**OPTIONS, max_cost=0.01)
    assert run_worker(folder.path) == 0
    (stopped,) = events(folder, "stopped")
    assert stopped.data["step"] == 1 and str(stopped.data["by"]).startswith("max_cost (")
    assert checkpoint_format.newest_valid(folder.checkpoints_dir)[0] is not None
    assert [e.data["value"] for e in events(folder, "decision") if e.data["what"] == "stop"] == ["max_cost"]


def test_a_raised_limit_is_that_of_all_attempts_and_not_of_the_time_between(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run stopped by its budget a day ago goes on with a larger one, and the day has cost nothing."""
    monkeypatch.setenv("MODEL_GARDEN_COST_PER_HOUR", "1000000")
    folder = start(**OPTIONS, max_cost=0.01)
    assert run_worker(folder.path) == 0
    earlier = [replace(event, t=event.t - 86_400.0) for event in JournalReader(folder.journal_file).read_new()]
    folder.journal_file.write_text("".join(event.to_line() for event in earlier))
    (first,) = events(folder, "stopped")
    monkeypatch.setenv("MODEL_GARDEN_COST_PER_HOUR", "3600")  # a day costs 86,400
    with pytest.raises(UsageError, match=r"may cost 0\.01"):
        find_resume_target(folder)
    commit_resume_target(find_resume_target(folder, max_cost=40_000.0), by="me")
    assert run_worker(folder.path) == 0
    assert events(folder, "stopped") == [first] and len(events(folder, "finished")) == 1
    assert [step["step"] for step in steps(folder)] == [1, 2, 3, 4]


def test_without_a_price_nothing_is_known() -> None:
    now = [0.0]
    for prices, exceeded in (({}, None), ({"per_hour": 10.0, "currency": "EUR"}, "20.00 EUR")):
        now[0] = 0.0
        budget = Budget(20.0, prices, dict, 3600.0, clock=lambda: now[0])
        assert budget.exceeded() is None
        now[0] = 3600.0
        assert budget.exceeded() == exceeded
    assert Budget(None, {"per_hour": 10.0}, dict, 1e9).exceeded() is None


class Signaled:
    """A stop handler that got SIGTERM at a time."""

    def __init__(self, at: float | None):
        self.signal_at = at


@pytest.mark.parametrize(
    ("signal_at", "now", "done", "checkpoint", "abandoned"),
    [
        (None, 105.0, 1, 0.0, False),  # no signal
        (104.0, 105.0, 1, 0.0, False),  # 5 s done, 5 s of the step left, 9 s of grace
        (104.0, 105.0, 1, 6.0, True),  # as much for the checkpoint does not fit
        (101.0, 106.0, 1, 0.0, True),  # this step takes longer than those before
        (100.5, 100.6, 0, 0.0, False),  # the median says that it fits
        (100.5, 100.6, 0, None, False),  # with a second for a checkpoint that was never timed
        (98.7, 100.6, 0, None, True),  # 7.4 s of the step left, 8.1 s of grace
    ],
)
def test_when_a_step_is_abandoned(
    signal_at: float | None, now: float, done: int, checkpoint: float | None, abandoned: bool
) -> None:
    clock = [90.0]
    grace = StopGrace(10.0, Signaled(signal_at), clock=lambda: clock[0])  # type: ignore[arg-type]
    grace.begin_step()
    clock[0] = 98.0
    grace.end_step()
    clock[0] = 100.0
    grace.begin_step()
    if checkpoint is not None:
        grace.checkpoint_seconds = checkpoint
    clock[0] = now
    if abandoned:
        with pytest.raises(StepAbandoned):
            grace.check(done, 2)
    else:
        grace.check(done, 2)

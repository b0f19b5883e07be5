"""A run that stops by itself after a step, to be compared with others: evaluated, saved, and resumed bit for bit."""

import torch
from safetensors.torch import load_file

from mg_tui.engine.run.worker import run_worker
from mg_tui.runs.pause import Pause, write_pause
from tests.engine.run.test_resume import Start, events, start, steps

__all__ = ["start"]

OPTIONS = {"eval_split": 0.25, "eval_steps": 2, "save_steps": 100, "max_steps": 6, "lora_dropout": 0.2}


def test_a_pause_changes_nothing_of_the_run(start: Start) -> None:
    whole = start(**OPTIONS)
    assert run_worker(whole.path) == 0
    folder = start(**OPTIONS)
    write_pause(folder, Pause(2, "sweep ranks"))
    assert run_worker(folder.path) == 0
    (stopped,) = events(folder, "stopped")
    assert (stopped.data["step"], stopped.data["by"]) == (2, "sweep ranks")
    assert stopped.data["checkpoint"] == "checkpoints/step-000002"
    assert [event.data["step"] for event in events(folder, "eval")] == [2]  # it is evaluated before it stops
    write_pause(folder, Pause(4, "sweep ranks"))
    assert run_worker(folder.path) == 0
    write_pause(folder, None)
    assert run_worker(folder.path) == 0
    assert [event.data["step"] for event in events(folder, "stopped")] == [2, 4]
    for name in ("loss", "grad_norm", "learning_rate"):
        assert [step[name] for step in steps(folder)] == [step[name] for step in steps(whole)], name
    losses = [[(event.data["step"], event.data["loss"]) for event in events(run, "eval")] for run in (folder, whole)]
    assert losses[0] == losses[1]
    one, other = (load_file(next(run.model_dir.glob("*model.safetensors"))) for run in (whole, folder))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_pause_at_the_end_is_none(start: Start) -> None:
    folder = start(**{**OPTIONS, "max_steps": 2})
    write_pause(folder, Pause(2, "sweep ranks"))
    assert run_worker(folder.path) == 0
    assert events(folder, "finished") and not events(folder, "stopped")

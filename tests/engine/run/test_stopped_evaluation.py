"""An orderly stop on a step whose evaluation and samples are due: the next attempt does them, and nothing differs."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run import trainer
from mg_tui.engine.run.trainer import GardenTrainer
from mg_tui.engine.run.worker import run_worker
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader

LOSSES = {2: 0.3, 4: 0.7}  # the best is that of step 2
Make = Callable[[str], RunFolder]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a run of four steps with an evaluation after the second and the last; its result is the best."""
    rows = []
    for number in range(2):
        Image.new("RGB", (56, 56), (60 * number, 90, 160)).save(tmp_path / f"{number}.png")
        rows.append(f'{{"text": "what?", "image": "{number}.png", "response": "it is {number}"}}\n')
    (tmp_path / "data.jsonl").write_text("".join(rows))
    monkeypatch.setattr(trainer, "mean_loss", lambda _batches, loss_of: LOSSES[loss_of.__self__.state.global_step])

    def make_run(home: str) -> RunFolder:
        spec = TrainingSpec.parse(
            {
                "base_model": "tiny",
                "dataset": str(tmp_path / "data.jsonl"),
                "eval_dataset": str(tmp_path / "data.jsonl"),
                "max_steps": 4,
                "learning_rate": 5e-3,
                "eval_steps": 2,
                "save_steps": 2,
                "gradient_accumulation_steps": 1,
                "workers": 0,
                "sample_count": 1,
                "lora_r": 2,
                "gradient_checkpointing": False,
                "result_from": "best",
            }
        )
        return RunFolder.create(tmp_path / home, spec, versions={})

    return make_run


def events(folder: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [dict(event.data) for event in JournalReader(folder.journal_file).read_new() if event.kind == kind]


def outcome(folder: RunFolder) -> dict[str, Any]:
    """Everything a user sees of a run that does not depend on the clock."""
    (finished,) = events(folder, "finished")
    return {
        "losses": {e["step"]: e["loss"] for e in events(folder, "step")},
        "evaluations": [(e["step"], e["loss"], e["examples"]) for e in events(folder, "eval")],
        "samples": [(e["step"], e["row"], e["answer"]) for e in events(folder, "sample")],
        "best": {e["step"]: e["eval_loss"] for e in events(folder, "checkpoint") if e.get("best")},
        "result": (finished["result_step"], finished["metrics"]["eval_loss"]),
        "weights": {n: w.tolist() for n, w in load_file(folder.model_dir / "adapter_model.safetensors").items()},
    }


def stop_in(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, step: int) -> None:
    """Send SIGTERM whenever a method is called at a step."""
    original = getattr(owner, name)

    def signalled(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments, **named)

    monkeypatch.setattr(owner, name, signalled)


def test_a_stop_loses_no_evaluation_and_no_sample(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = make("undisturbed")
    assert run_worker(undisturbed.path) == 0
    expected = outcome(undisturbed)
    assert expected["result"] == (2, 0.3) and [s[0] for s in expected["samples"]] == [2, 4]

    folder = make("stopped")
    for method, step, stopped_at in (("_forward_backward", 1, 2), ("_forward_backward", 3, 4)):
        with monkeypatch.context() as patch:
            stop_in(patch, GardenTrainer, method, step)
            assert run_worker(folder.path) == 0
        assert events(folder, "stopped")[-1]["step"] == stopped_at
    assert run_worker(folder.path) == 0
    assert outcome(folder) == expected
    best = checkpoint_format.best_valid(folder.checkpoints_dir)
    assert best is not None and (best.step, best.eval_loss) == (2, 0.3)


def test_a_stop_during_an_evaluation_ends_the_run_there_and_the_samples_follow(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make("stopped")
    with monkeypatch.context() as patch:
        stop_in(patch, GardenTrainer, "evaluate", 2)
        assert run_worker(folder.path) == 0
    assert events(folder, "stopped")[-1]["step"] == 2
    assert [e["step"] for e in events(folder, "eval")] == [2] and not events(folder, "sample")
    assert run_worker(folder.path) == 0
    assert [e["step"] for e in events(folder, "eval")] == [2, 4], "not a second time"
    assert [e["step"] for e in events(folder, "sample")] == [2, 4]

"""Going on from a checkpoint gives what an uninterrupted run gives, whatever is trained and wherever it broke off."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mg_tui.core.events import Event
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run.worker import run_worker
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader

Start = Callable[..., RunFolder]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Makes the folder of a run of eight rows, three steps an epoch."""
    rows = []
    for number in range(8):
        Image.new("RGB", (56, 56), (30 * number, 90, 160)).save(tmp_path / f"{number}.png")
        rows.append({"text": f"what is {number}?", "image": f"{number}.png", "response": f"{number} is blue"})
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(**options: Any) -> RunFolder:
        quick = {
            "base_model": "tiny",
            "dataset": str(tmp_path / "data.jsonl"),
            "max_steps": 7,
            "learning_rate": 2e-3,
            "gradient_accumulation_steps": 3,
            "workers": 0,
            "save_steps": 2,
            "save_total_limit": 9,
            "sample_count": 1,
            "lora_r": 2,
        }
        return RunFolder.create(tmp_path, TrainingSpec.parse({**quick, **options}), versions={})

    return make


def steps(folder: RunFolder) -> list[dict[str, Any]]:
    return [dict(event.data) for event in events(folder, "step")]


def events(folder: RunFolder, kind: str) -> list[Event]:
    return [event for event in JournalReader(folder.journal_file).read_new() if event.kind == kind]


def truncate_after(folder: RunFolder, step: int) -> None:
    for path in checkpoint_format.list_checkpoints(folder.checkpoints_dir):
        if (checkpoint_format.step_of(path) or 0) > step:
            shutil.rmtree(path)


@pytest.mark.parametrize(
    "options",
    [
        {"lora_dropout": 0.2, "gradient_checkpointing": True, "workers": 1},
        {"train_language": "full", "train_projector": "full"},
        {"train_projector": "full", "train_vision": "lora", "layout": "padded"},
        {"dtype": "bfloat16", "scheduler": "linear", "warmup_steps": 4},
    ],
    ids=str,
)
def test_the_same_losses_and_weights_bit_for_bit(start: Start, options: dict[str, Any]) -> None:
    folder = start(**options)
    assert run_worker(folder.path) == 0
    weights = next(folder.model_dir.glob("*model.safetensors"))
    before, first = load_file(weights), steps(folder)
    truncate_after(folder, 4)  # in the middle of the second epoch
    assert run_worker(folder.path) == 0
    assert events(folder, "started")[1].data["resumed_from"] == 4
    again = steps(folder)[len(first) :]
    assert [step["step"] for step in again] == [5, 6, 7]
    for name in ("loss", "grad_norm", "learning_rate", "epoch", "tokens", "supervised_tokens"):
        assert [step[name] for step in again] == [step[name] for step in first[4:]], name
    after = load_file(weights)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_that_only_lacked_its_result_gets_it(start: Start) -> None:
    folder = start()
    assert run_worker(folder.path) == 0
    first = steps(folder)
    shutil.rmtree(folder.model_dir)
    assert run_worker(folder.path) == 0
    assert steps(folder) == first, "no step is done again"
    item, other = events(folder, "finished")
    assert other.data["steps"] == 7
    assert other.data["metrics"] == item.data["metrics"]
    card = json.loads((folder.model_dir / "model_garden.json").read_text())
    assert card["training"]["supervised_tokens"] == sum(step["supervised_tokens"] for step in first)


def test_it_is_said_when_the_data_have_changed(start: Start, tmp_path: Path) -> None:
    folder = start()
    assert run_worker(folder.path) == 0
    truncate_after(folder, 4)
    rows = (tmp_path / "data.jsonl").read_text()
    (tmp_path / "data.jsonl").write_text(rows.replace("7 is blue", "7 is green"))
    assert run_worker(folder.path) == 0
    assert [event.data["what"] for event in events(folder, "warning")] == [
        "the training data have changed since the checkpoint was written"
    ]


def test_retention(start: Start) -> None:
    folder = start(save_steps=1, save_total_limit=2)
    assert run_worker(folder.path) == 0
    assert [path.name for path in checkpoint_format.list_checkpoints(folder.checkpoints_dir)] == [
        "step-000006",
        "step-000007",
    ]
    assert [event.data["step"] for event in events(folder, "checkpoint_removed")] == [1, 2, 3, 4, 5]
    assert [event.data["step"] for event in events(folder, "checkpoint")] == [1, 2, 3, 4, 5, 6, 7]


def test_the_loss_does_not_depend_on_attention_or_layout(start: Start) -> None:
    result = []
    for options in ({"attention": "sdpa"}, {"attention": "eager"}, {"attention": "sdpa", "layout": "padded"}):
        folder = start(max_steps=3, gradient_checkpointing=False, sample_count=0, warmup_ratio=0, **options)
        assert run_worker(folder.path) == 0
        result.append([step["loss"] for step in steps(folder)])
    assert result[1] == pytest.approx(result[0], rel=1e-4)
    assert result[2] == pytest.approx(result[0], rel=1e-4)

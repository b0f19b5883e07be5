"""The evaluation loss of a run is the mean over all supervised tokens of its held-out rows, computed by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers.trainer_callback import DefaultFlowCallback

from mg_tui.core.spec import TrainingSpec
from mg_tui.data.images import open_image
from mg_tui.engine.inference.generation import make_encoder
from mg_tui.engine.inference.loading import load_for_inference
from mg_tui.engine.run.trainer import GardenTrainer
from mg_tui.engine.run.worker import run_worker
from mg_tui.families.collate import IGNORE_INDEX
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader


def loss_by_hand(result: Path, examples: list[Any], home: Path) -> float:
    """One row at a time, by transformers alone: the sum of the token losses over the number of tokens."""
    loaded = load_for_inference(str(result), home=home, device="cpu")
    encoder = make_encoder(loaded.family, loaded.processor, loaded.metadata.preprocessing)
    loss, tokens = 0.0, 0
    for example in examples:
        batch = dict(encoder([example], [[open_image(ref.path) for ref in example.images]]))
        labels = batch.pop("labels")[0, 1:]
        with torch.no_grad():
            logits = loaded.model(**batch).logits[0, :-1].double()
        loss += float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="sum"))
        tokens += int((labels != IGNORE_INDEX).sum())
    return loss / tokens


def test_it_is_the_mean_over_all_tokens_of_all_rows_at_every_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers of unequal length, weights, smoothing and dropout, more rows than one batch, and a last step of its own:
    each would give another number."""
    rows = []
    for number in range(40):
        Image.new("RGB", (28, 28), (6 * number, 90, 160)).save(tmp_path / f"{number}.png")
        answer = "it is " + "very " * (number % 9) + "blue"
        rows.append({"text": f"{number}?", "image": f"{number}.png", "response": answer, "weight": 1 + number % 5})
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = {
        "base_model": "tiny",
        "dataset": str(tmp_path / "data.jsonl"),
        "weight_field": "weight",
        "label_smoothing": 0.2,
        "lora_dropout": 0.5,
        "eval_split": 0.5,
        "eval_steps": 2,
        "save_steps": 100,
        "max_steps": 3,
        "learning_rate": 1e-2,
        "warmup_ratio": 0,
        "gradient_accumulation_steps": 2,
        "workers": 0,
        "sample_count": 0,
        "lora_r": 4,
        "gradient_checkpointing": False,
    }
    evaluated: list[Any] = []
    original = GardenTrainer.evaluate

    def evaluate(self: Any, *arguments: Any, **named: Any) -> Any:
        evaluated[:] = self.eval_batches.examples
        return original(self, *arguments, **named)

    def at_intervals_only(self: Any, args: Any, state: Any, control: Any, **named: Any) -> Any:
        in_flow(self, args, state, control, **named)
        control.should_evaluate = control.should_evaluate and state.global_step % state.eval_steps == 0
        return control

    # Not every release of transformers evaluates after the last step by itself.
    in_flow = DefaultFlowCallback.on_step_end
    monkeypatch.setattr(DefaultFlowCallback, "on_step_end", at_intervals_only)
    monkeypatch.setattr(GardenTrainer, "evaluate", evaluate)
    folder = RunFolder.create(tmp_path, TrainingSpec.parse(spec), versions={})
    assert run_worker(folder.path) == 0
    events = JournalReader(folder.journal_file).read_new()
    evaluations = [event.data for event in events if event.kind == "eval"]
    assert [(e["step"], e["examples"]) for e in evaluations] == [(2, len(evaluated)), (3, len(evaluated))]
    assert len(evaluated) > 16, "more than the rows that are laid out at once"
    assert len({example.weight for example in evaluated}) > 1, "held-out rows have weights too"
    expected = loss_by_hand(folder.model_dir, evaluated, tmp_path)
    assert evaluations[-1]["loss"] == pytest.approx(expected, rel=1e-5)
    (finished,) = [event.data for event in events if event.kind == "finished"]
    assert finished["metrics"]["eval_loss"] == evaluations[-1]["loss"]

"""What reaches the optimizer: the gradient of the step, clipped, finite, in the precision of the dtype."""

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
from mg_tui.engine.inference import generation, training_samples
from mg_tui.engine.run.reporter import Reporter
from mg_tui.engine.run.trainer import GardenTrainer
from mg_tui.engine.run.worker import run_worker
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader

Start = Callable[..., RunFolder]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Makes the folder of a run of four rows with an image each, two a step."""
    rows = []
    for number in range(4):
        Image.new("RGB", (56, 56), (60 * number, 90, 160)).save(tmp_path / f"{number}.png")
        rows.append({"text": f"what is {number}?", "image": f"{number}.png", "response": f"{number} is blue"})
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(**options: Any) -> RunFolder:
        quick = {
            "base_model": "tiny",
            "dataset": str(tmp_path / "data.jsonl"),
            "max_steps": 2,
            "learning_rate": 5e-3,
            "warmup_ratio": 0,
            "gradient_accumulation_steps": 2,
            "workers": 0,
            "save_steps": 2,
            "sample_count": 0,
            "lora_r": 2,
            "gradient_checkpointing": False,
        }
        return RunFolder.create(tmp_path, TrainingSpec.parse({**quick, **options}), versions={})

    return make


def events(folder: RunFolder, kind: str) -> list[Event]:
    return [event for event in JournalReader(folder.journal_file).read_new() if event.kind == kind]


def losses(folder: RunFolder) -> list[float]:
    return [event.data["loss"] for event in events(folder, "step")]


def test_the_optimizer_has_what_the_spec_says_and_a_clipped_gradient(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, seen = Reporter.on_pre_optimizer_step, []

    def look(self: Any, *arguments: Any, **named: Any) -> None:
        trainer = self.trainer
        gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        norm = float(torch.stack([gradient.norm() for gradient in gradients]).norm())
        seen.append((norm, [(group["betas"], group["eps"]) for group in trainer.optimizer.param_groups]))
        original(self, *arguments, **named)

    monkeypatch.setattr(Reporter, "on_pre_optimizer_step", look)
    folder = start(max_grad_norm=0.01, adam_beta1=0.7, adam_beta2=0.95, adam_epsilon=1e-3)
    assert run_worker(folder.path) == 0
    assert len(seen) == 2
    for norm, groups in seen:
        assert norm == pytest.approx(0.01, rel=1e-3)
        assert groups and all(group == ((0.7, 0.95), 1e-3) for group in groups)
    assert all(event.data["grad_norm"] > 0.02 for event in events(folder, "step")), "the journal has it unclipped"


def test_a_gradient_that_is_no_number_is_not_applied(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    original = GardenTrainer._forward_backward

    def overflowing(self: Any, model: Any, part: Any, scale: float) -> Any:
        loss = original(self, model, part, scale)
        if self.state.global_step == 2:
            next(p for p in model.parameters() if p.grad is not None).grad[0] = float("nan")
        return loss

    monkeypatch.setattr(GardenTrainer, "_forward_backward", overflowing)
    folder = start(max_steps=4, save_steps=1)
    assert run_worker(folder.path) == 1
    (failed,) = events(folder, "failed")
    assert (failed.data["step"], len(failed.data["rows"])) == (3, 2)
    assert "the gradient became nan at step 3" in failed.data["what"]
    assert [event.data["step"] for event in events(folder, "step")] == [1, 2]
    newest = checkpoint_format.list_checkpoints(folder.checkpoints_dir)[-1]
    assert checkpoint_format.step_of(newest) == 2
    assert all(bool(weights.isfinite().all()) for weights in load_file(newest / "adapter_model.safetensors").values())


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_dtype_is_computed_in(start: Start, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    """Trained weights are float32 whatever the dtype: without autocast their layers would compute in it."""
    original, computed = GardenTrainer.train, set()

    def train(self: Any, **arguments: Any) -> Any:
        inner = self.model.base_model.model.model

        def look(part: str) -> None:
            on = torch.is_autocast_enabled("cpu")
            computed.add((part, self.model.training, torch.get_autocast_dtype("cpu") if on else torch.float32))

        inner.visual.blocks[0].register_forward_hook(lambda *_given: look("vision"))
        inner.language_model.layers[0].register_forward_hook(lambda *_given: look("language"))
        return original(self, **arguments)

    monkeypatch.setattr(GardenTrainer, "train", train)
    folder = start(max_steps=1, dtype=dtype, eval_split=0.5, gradient_accumulation_steps=1)
    assert run_worker(folder.path) == 0
    expected = getattr(torch, dtype)
    assert computed == {(part, training, expected) for part in ("vision", "language") for training in (True, False)}


def test_the_state_of_a_loss_scaler_is_in_the_checkpoint_and_comes_back(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float16 is for CUDA devices; here the scaler of one is put into the trainer."""
    scales: list[float] = []
    original = GardenTrainer.__init__

    def with_scaler(self: Any, **arguments: Any) -> None:
        original(self, **arguments)
        self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0 ** (10 + len(scales)))
        self.accelerator.native_amp = True
        load = self._load_scaler

        def load_scaler(checkpoint: str | None) -> None:
            load(checkpoint)
            scales.append(self.accelerator.scaler.get_scale())

        self._load_scaler = load_scaler

    monkeypatch.setattr(GardenTrainer, "__init__", with_scaler)
    folder = start(max_steps=2, save_steps=1)
    assert run_worker(folder.path) == 0
    scales.append(0.0)  # the next scaler begins elsewhere
    shutil.rmtree(checkpoint_format.folder_of(folder.checkpoints_dir, 2))
    state = torch.load(checkpoint_format.folder_of(folder.checkpoints_dir, 1) / "scaler.pt", weights_only=True)
    assert state["scale"] == 2.0**10
    assert run_worker(folder.path) == 0
    assert events(folder, "started")[1].data["resumed_from"] == 1
    assert scales[1:] == [2.0**10]


def test_samples_draw_no_random_number_that_training_would_have_drawn(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = generation.generate_answer

    def drawing(*arguments: Any, **named: Any) -> Any:
        torch.rand(3)  # as sampled answers do
        return original(*arguments, **named)

    monkeypatch.setattr(training_samples, "generate_answer", drawing)
    quiet, sampled = (
        start(max_steps=3, save_steps=1, lora_dropout=0.3),
        start(max_steps=3, save_steps=1, lora_dropout=0.3, sample_count=1),
    )
    assert [run_worker(folder.path) for folder in (quiet, sampled)] == [0, 0]
    assert len(events(sampled, "sample")) == 3
    assert losses(sampled) == losses(quiet)


def test_a_full_result_is_saved_in_the_dtype_of_the_model(start: Start) -> None:
    folder = start(max_steps=1, dtype="bfloat16", train_language="none", train_projector="full")
    assert run_worker(folder.path) == 0
    saved = load_file(folder.model_dir / "model.safetensors")
    assert {weights.dtype for weights in saved.values()} == {torch.bfloat16}
    assert json.loads((folder.model_dir / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize("on_bad_row", ["stop", "skip"])
def test_an_image_that_is_gone_in_mid_run_stops_it_unless_bad_rows_are_skipped(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_bad_row: str
) -> None:
    original = Reporter.on_step_end

    def remove(self: Any, args: Any, state: Any, control: Any, **named: Any) -> Any:
        if state.global_step == 1:
            Path(self.trainer.stream.examples_of(1)[0].images[0].path).unlink()
        return original(self, args, state, control, **named)

    monkeypatch.setattr(Reporter, "on_step_end", remove)
    folder = start(on_bad_row=on_bad_row, save_steps=1)
    assert run_worker(folder.path) == (2 if on_bad_row == "stop" else 0)
    steps = [event.data["step"] for event in events(folder, "step")]
    if on_bad_row == "skip":
        assert steps == [1, 2]
        assert any("was skipped" in event.data["what"] for event in events(folder, "warning"))
        return
    (failed,) = events(folder, "failed")
    assert steps == [1]
    assert "can no longer be read" in failed.data["what"] and "row" in failed.data["what"]

"""Options of training that reach the optimizer, the loss or the adapter: what they say is what is done."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mg_qwen2_5_vl import QWEN2_5_VL
from PIL import Image
from safetensors.torch import load_file

from mg_tui.core.errors import SpecError
from mg_tui.core.events import Event
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run import parameter_groups, trainable_parameters, training_arguments
from mg_tui.engine.run.placement import Placement
from mg_tui.engine.run.worker import run_worker
from mg_tui.families.contract import LoadRequest
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader

TINY = str(QWEN2_5_VL.checkpoints[-1].path)
Start = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number in range(3):
        Image.effect_mandelbrot((84, 84), (-2 + number / 7, -1, 1, 1), 20).convert("RGB").save(folder / f"{number}.png")
        for word in ("red", "round"):
            rows.append({"text": f"{word}?", "image": f"{number}.png", "response": f"{word} {number}", "two": 2})
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "data.jsonl"


@pytest.fixture
def start(tmp_path: Path, dataset: Path) -> Start:
    def make(**options: Any) -> RunFolder:
        quick = {
            "base_model": "tiny",
            "dataset": str(dataset),
            "max_steps": 2,
            "learning_rate": 5e-3,
            "gradient_accumulation_steps": 3,
            "warmup_ratio": 0,
            "scheduler": "constant",
            "workers": 0,
            "save_steps": 2,
            "sample_count": 0,
            "lora_r": 4,
            "gradient_checkpointing": False,
        }
        return RunFolder.create(tmp_path, TrainingSpec.parse({**quick, **options}), versions={})

    return make


def spec(**options: Any) -> TrainingSpec:
    return TrainingSpec.parse({"base_model": "tiny", "dataset": "d.jsonl", "lora_r": 4, **options})


def adapt_tiny(options: TrainingSpec) -> Any:
    model = QWEN2_5_VL.load_model(QWEN2_5_VL, LoadRequest(TINY, dtype="float32", device="cpu"))
    return trainable_parameters.make_trainable(model, QWEN2_5_VL, options)


def events(folder: RunFolder, kind: str) -> list[Event]:
    return [event for event in JournalReader(folder.journal_file).read_new() if event.kind == kind]


def losses(folder: RunFolder) -> dict[int, float]:
    return {event.data["step"]: event.data["loss"] for event in events(folder, "step")}


# --- weights and smoothing ------------------------------------------------------------------------------------------
def test_weights_and_smoothing_reach_the_loss_of_a_run(start: Start) -> None:
    plain, heavy, smooth = (
        start(max_steps=1),
        start(max_steps=1, weight_field="two"),
        start(max_steps=1, label_smoothing=0.2),
    )
    assert [run_worker(folder.path) for folder in (plain, heavy, smooth)] == [0, 0, 0]
    assert losses(heavy)[1] == pytest.approx(2 * losses(plain)[1], rel=1e-6)
    assert losses(smooth)[1] != pytest.approx(losses(plain)[1], rel=1e-4)


def test_an_evaluation_knows_neither_weights_nor_smoothing(start: Start, dataset: Path, tmp_path: Path) -> None:
    held_out = dataset.parent / "held.jsonl"
    held_out.write_text('{"text": "red?", "image": "0.png", "response": "red 0"}\n')  # and has no weight to read
    result = []
    for options in ({}, {"weight_field": "two", "label_smoothing": 0.2}):
        folder = start(max_steps=1, learning_rate=1e-9, eval_dataset=str(held_out), **options)
        assert run_worker(folder.path) == 0
        result.append(events(folder, "eval")[0].data["loss"])
    assert result[0] == pytest.approx(result[1], rel=1e-5)


def test_rows_that_all_weigh_nothing_are_no_run(start: Start, dataset: Path) -> None:
    path = dataset.parent / "nothing.jsonl"
    path.write_text('{"text": "?", "image": "0.png", "response": "x", "two": 0}\n')
    folder = start(dataset=str(path), weight_field="two")
    assert run_worker(folder.path) == 2
    assert "weight 0" in events(folder, "failed")[0].data["what"]


# --- learning rates -------------------------------------------------------------------------------------------------
def test_each_part_has_its_learning_rate_and_the_decay_it_had(start: Start) -> None:
    options = spec(
        train_projector="full",
        train_vision="lora",
        learning_rate=1e-4,
        projector_learning_rate=1e-3,
        vision_learning_rate=1e-5,
        weight_decay=0.3,
    )
    model = adapt_tiny(options)
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    decayed = [name for name in names.values() if "bias" not in name and "norm" not in name and "ln_q" not in name]
    result = parameter_groups.parameter_groups(model, QWEN2_5_VL, options, decayed)
    assert result is not None
    observed: list[str] = []
    for group in result:
        for parameter in group["params"]:
            name = names[id(parameter)]
            part = QWEN2_5_VL.parts.part_of(trainable_parameters.strip_peft_prefix(name))
            assert group["lr"] == {"language": 1e-4, "projector": 1e-3, "vision": 1e-5}[str(part)]
            assert group["weight_decay"] == (0.3 if name in decayed else 0.0)
            observed.append(name)
    assert sorted(observed) == sorted(names.values())
    assert any("bias" in name for name in observed)


def test_one_learning_rate_leaves_the_optimizer_as_it_was() -> None:
    same = spec(train_projector="full", learning_rate=1e-4, projector_learning_rate=1e-4)
    assert parameter_groups.parameter_groups(adapt_tiny(same), QWEN2_5_VL, same, []) is None


def test_a_projector_learns_at_its_own_rate_and_resumes_at_it(start: Start) -> None:
    rates = {"learning_rate": 1e-8, "projector_learning_rate": 1e-2}
    folder = start(max_steps=4, train_projector="full", **rates)
    assert run_worker(folder.path) == 0
    weights = load_file(folder.model_dir / "adapter_model.safetensors")
    language = [tensor.abs().max() for name, tensor in weights.items() if "lora_B" in name]
    assert 0 < max(language) < 1e-6
    fresh = adapt_tiny(spec(train_projector="full"))
    before = {name: p for name, p in fresh.named_parameters() if "modules_to_save" in name and p.ndim == 2}
    moved = [
        float((weights[name.replace("modules_to_save.default.", "")] - parameter.detach()).abs().max())
        for name, parameter in before.items()
    ]
    assert moved and min(moved) > 1e-3
    table = events(folder, "plan")[0].data["trainable"]
    assert {part: facts["learning_rate"] for part, facts in table.items()} == {
        "language": 1e-8,
        "projector": 1e-2,
        "vision": None,
    }

    expected = losses(folder)
    shutil.rmtree(checkpoint_format.list_checkpoints(folder.checkpoints_dir)[-1])
    assert run_worker(folder.path) == 0
    assert events(folder, "started")[1].data["resumed_from"] == 2
    assert losses(folder) == expected


@pytest.mark.parametrize("part", ["projector", "vision"])
def test_a_learning_rate_of_what_is_not_trained_is_refused(part: str) -> None:
    with pytest.raises(SpecError, match=f"train_{part}"):
        spec(**{f"{part}_learning_rate": 1e-3})


# --- PEFT's own options ---------------------------------------------------------------------------------------------
def test_rslora_scales_by_the_root_of_the_rank() -> None:
    def scalings(**options: Any) -> set[float]:
        layers = [layer for layer in adapt_tiny(spec(lora_alpha=8, **options)).modules() if hasattr(layer, "lora_A")]
        return {layer.scaling["default"] for layer in layers}

    assert (scalings(), scalings(use_rslora=True)) == ({2.0}, {4.0})


def test_dora_learns_a_magnitude_for_each_adapted_layer() -> None:
    model = adapt_tiny(spec(use_dora=True))
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    magnitudes = [name for name in learning if "lora_magnitude_vector" in name]
    assert len(magnitudes) == len([name for name in learning if ".lora_A." in name]) > 0
    plain = adapt_tiny(spec(use_dora=False))
    assert not any("magnitude" in name for name, _parameter in plain.named_parameters())
    inputs = {"input_ids": torch.arange(5)[None], "attention_mask": torch.ones(1, 5, dtype=torch.long)}
    with torch.no_grad():  # neither changes the model before it has learned
        assert torch.allclose(model(**inputs).logits, plain(**inputs).logits, atol=1e-5)


# --- Layout ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "why"),
    [({"attention": "eager"}, "eager takes no mask of a tree"), ({"layout": "padded"}, "requested")],
    ids=["eager", "requested"],
)
def test_where_rows_cannot_be_packed_the_journal_says_why(start: Start, options: dict[str, Any], why: str) -> None:
    folder = start(max_steps=1, batch_size=3, gradient_accumulation_steps=1, **options)
    assert run_worker(folder.path) == 0
    (messages,) = [event.data for event in events(folder, "decision") if event.data["what"] == "layout"]
    assert messages["value"] == "padded"
    assert why in messages["why"] and "similar length" in messages["why"]


# --- Optimizers -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit", "paged_adamw_8bit"])
def test_every_optimizer_is_one_that_the_trainer_knows(optimizer: str) -> None:
    from transformers.training_args import OptimizerNames

    placed = Placement("cuda:0", "a GPU", "bfloat16", "nf4", "sdpa")
    named = training_arguments._optimizer_name(spec(optimizer=optimizer), placed)
    assert named in {item.value for item in OptimizerNames}
    assert ("8bit" in optimizer, "paged" in optimizer) == ("8bit" in named, "paged" in named)

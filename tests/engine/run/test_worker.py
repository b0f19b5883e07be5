"""Whole runs of the worker on the tiny model: what is in the journal, what is left on disk, what a resume gives."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mg_tui.core.events import Event
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.batching.feature_cache import FeatureCache
from mg_tui.engine.run.trainer import GardenTrainer
from mg_tui.engine.run.worker import run_worker
from mg_tui.runs import checkpoint_format, control
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader

Start = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images, three questions about each."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number in range(4):
        size = (84 + 28 * (number % 2), 84)
        Image.effect_mandelbrot(size, (-2 + number / 7, -1, 1, 1), 20).convert("RGB").save(folder / f"{number}.png")
        rows += [
            {"text": f"what is {word}?", "image": f"{number}.png", "response": f"{word} is {number}"}
            for word in ("red", "round", "large")
        ]
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def start(tmp_path: Path, dataset: Path) -> Start:
    """Makes the folder of a run; options over quick ones."""

    def make(**options: Any) -> RunFolder:
        quick = {
            "base_model": "tiny",
            "dataset": str(dataset),
            "max_steps": 5,
            "learning_rate": 5e-3,
            "gradient_accumulation_steps": 4,
            "warmup_ratio": 0,
            "workers": 0,
            "save_steps": 2,
            "sample_count": 0,
            "lora_r": 4,
            "gradient_checkpointing": False,
        }
        return RunFolder.create(tmp_path, TrainingSpec.parse({**quick, **options}), versions={})

    return make


def events(folder: RunFolder, kind: str | None = None) -> list[Event]:
    result = JournalReader(folder.journal_file).read_new()
    return [event for event in result if kind is None or event.kind == kind]


def losses(folder: RunFolder) -> dict[int, float]:
    """The loss of each step; of a step done twice, the later one."""
    return {event.data["step"]: event.data["loss"] for event in events(folder, "step")}


def gradient_norms(folder: RunFolder) -> list[float]:
    return [event.data["grad_norm"] for event in events(folder, "step")]


def adapter(folder: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(folder.model_dir / "adapter_model.safetensors")


def test_a_run_from_its_first_word_to_its_last(start: Start) -> None:
    folder = start(eval_split=0.25, sample_count=1, max_steps=6)
    assert run_worker(folder.path) == 0
    journal = events(folder)
    assert [event.n for event in journal] == list(range(1, len(journal) + 1))
    assert [e.kind for e in journal if e.kind in ("created", "started", "finished")] == [
        "created",
        "started",
        "finished",
    ]
    assert [e.data["step"] for e in journal if e.kind == "step"] == [1, 2, 3, 4, 5, 6]
    assert [e.data["step"] for e in journal if e.kind == "eval"] == [2, 4, 6]
    assert {e.data["step"] for e in journal if e.kind == "sample"} == {2, 4, 6}
    for event in journal:
        if event.kind == "step":
            for name in (
                "loss",
                "learning_rate",
                "grad_norm",
                "tokens",
                "images",
                "seconds",
                "data_wait",
                "host_memory",
            ):
                assert isinstance(event.data[name], int | float), name
    steps = [event.data for event in journal if event.kind == "step"]
    assert sum(step["laid_out"] for step in steps) < 0.7 * sum(step["tokens"] for step in steps)
    assert sum(step["images_encoded"] for step in steps) < sum(step["images"] for step in steps)
    assert {e.data["what"] for e in journal if e.kind == "decision"} >= {"device", "dtype", "quantization", "layout"}

    result = losses(folder)
    assert result[6] < result[1]
    plan = events(folder, "plan")[0].data
    assert (plan["examples"], plan["eval_examples"], plan["steps"]) == (9, 3, 6)
    assert plan["trainable"]["language"]["trained"] == sum(w.numel() for w in adapter(folder).values())
    assert plan["trainable"]["vision"]["trained"] == plan["trainable"]["projector"]["trained"] == 0
    assert all("language_model" in name for name in adapter(folder))
    assert [
        checkpoint_format.find_problem(path) for path in checkpoint_format.list_checkpoints(folder.checkpoints_dir)
    ] == [None] * 3


def test_a_stopped_run_goes_on_as_if_it_had_not_been(start: Start) -> None:
    whole = start(max_steps=6)
    assert run_worker(whole.path) == 0
    parted = start(max_steps=6)
    original = GardenTrainer.training_step

    def ask_at_step_three(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step == 2:
            control.send_request(parted, "stop", "a test")
            time.sleep(0.6)  # the watcher looks every quarter of a second
        return original(self, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GardenTrainer, "training_step", ask_at_step_three)
        assert run_worker(parted.path) == 0
    (stopped,) = events(parted, "stopped")
    assert stopped.data["step"] == 3
    assert stopped.data["checkpoint"] == "checkpoints/step-000003"
    assert events(parted, "request")[0].data == {"request": "stop", "by": "a test"}

    assert run_worker(parted.path) == 0
    assert [event.data["resumed_from"] for event in events(parted, "started")] == [None, 3]
    assert [event.data["step"] for event in events(parted, "step")] == [1, 2, 3, 4, 5, 6]
    assert losses(parted) == losses(whole)
    item, other = adapter(whole), adapter(parted)
    assert all(torch.equal(item[name], other[name]) for name in item)


def test_kill_9_loses_no_more_than_what_came_after_the_checkpoint(start: Start) -> None:
    whole = start(max_steps=12, save_steps=3, lora_dropout=0.1)
    assert run_worker(whole.path) == 0
    killed = start(max_steps=12, save_steps=3, lora_dropout=0.1)
    process = subprocess.Popen(
        [sys.executable, "-m", "mg_tui.engine", str(killed.path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while len(events(killed, "step")) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(events(killed, "step")) >= 5
    if not events(killed, "finished"):
        assert run_worker(killed.path) == 0
        assert events(killed, "started")[1].data["resumed_from"] >= 3
    assert losses(killed) == losses(whole)
    item, other = adapter(whole), adapter(killed)
    assert all(torch.equal(item[name], other[name]) for name in item)


def test_a_damaged_checkpoint_is_passed_over_and_said(start: Start) -> None:
    folder = start(max_steps=4)
    assert run_worker(folder.path) == 0
    expected = losses(folder)
    newest = checkpoint_format.list_checkpoints(folder.checkpoints_dir)[-1] / "adapter_model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert run_worker(folder.path) == 0
    assert events(folder, "started")[1].data["resumed_from"] == 2
    assert "damaged" in events(folder, "warning")[0].data["what"]
    assert losses(folder) == expected


def test_batches_and_accumulation_are_the_same_step(start: Start) -> None:
    result = []
    for options in (
        {"batch_size": 4, "gradient_accumulation_steps": 1, "layout": "padded"},
        {"batch_size": 1, "gradient_accumulation_steps": 4, "layout": "padded"},
        {"batch_size": 1, "gradient_accumulation_steps": 4, "layout": "packed"},
        {"batch_size": 2, "gradient_accumulation_steps": 2, "layout": "packed", "token_budget": 64},
    ):
        folder = start(**options)
        assert run_worker(folder.path) == 0
        result.append(list(losses(folder).values()))
    for other in result[1:]:
        assert other == pytest.approx(result[0], rel=2e-4)


def test_kept_features_are_the_tower_s(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_GARDEN_CACHE", str(tmp_path / "cache"))
    encoded = start(max_steps=9, vision_cache="off")
    assert run_worker(encoded.path) == 0
    saved = start(max_steps=9, vision_cache="on")
    assert run_worker(saved.path) == 0
    assert losses(saved) == losses(encoded)
    steps = [event.data for event in events(saved, "step")]
    assert steps[0]["images_encoded"] > 0
    assert all((step["images_encoded"], step["images_cached"] > 0) == (0, True) for step in steps[3:])
    (decision,) = [e.data for e in events(saved, "decision") if e.data["what"] == "vision cache"]
    assert decision["value"] == "on" and "ms to read" in decision["why"]

    again = start(max_steps=3, vision_cache="on", seed=7)  # another run finds what the first one kept
    assert run_worker(again.path) == 0
    assert sum(event.data["images_cached"] for event in events(again, "step")) > 0

    other = start(max_steps=1, vision_cache="on", max_pixels=3136, min_pixels=784)  # another size: another entry
    assert run_worker(other.path) == 0
    assert events(other, "step")[0].data["images_cached"] == 0


def test_runs_of_one_epoch_share_features_when_asked(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No image comes twice in an epoch, but each does in the next run of a sweep."""
    monkeypatch.setenv("MODEL_GARDEN_CACHE", str(tmp_path / "cache"))
    # Reading is faster on any model worth a sweep; of the tiny one, either may be.
    monkeypatch.setattr(FeatureCache, "is_worthwhile", lambda self, content, seconds: (True, "measured"))
    alone = start(max_steps=2, vision_cache="auto")
    assert run_worker(alone.path) == 0
    assert "there is one epoch" in str([e.data["why"] for e in events(alone, "decision")])
    first, second = start(max_steps=2, vision_cache="shared"), start(max_steps=2, vision_cache="shared", lora_r=4)
    for folder in (first, second):
        assert run_worker(folder.path) == 0
    assert losses(first) == losses(alone)
    assert sum(event.data["images_encoded"] for event in events(first, "step")) > 0
    assert sum(event.data["images_encoded"] for event in events(second, "step")) == 0
    assert sum(event.data["images_cached"] for event in events(second, "step")) > 0


@pytest.mark.parametrize(
    "options", [{"train_projector": "full"}, {"train_vision": "lora"}, {"layout": "padded"}], ids=str
)
def test_features_are_never_kept_where_they_would_change(start: Start, options: dict[str, Any]) -> None:
    folder = start(max_steps=4, **options)
    assert run_worker(folder.path) == 0
    assert all(event.data["images_cached"] == 0 for event in events(folder, "step"))
    refused = start(max_steps=4, vision_cache="on", **options)
    assert run_worker(refused.path) == 2
    assert "vision_cache" in events(refused, "failed")[0].data["what"]


def test_no_memory_for_a_step_lays_the_same_step_out_smaller(start: Start) -> None:
    plain = start()
    assert run_worker(plain.path) == 0
    folder = start()
    original = GardenTrainer._forward_backward

    def small_device(self: Any, model: Any, part: Any, scale: float) -> Any:
        done = original(self, model, part, scale)
        if len(part.rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GardenTrainer, "_forward_backward", small_device)
        assert run_worker(folder.path) == 0
    (first, *_rest) = events(folder, "relaid")
    assert first.data["step"] == 1 and len(first.data["rows"]) == 4
    assert "Tried to allocate" in first.data["why"]
    assert losses(folder) == pytest.approx(losses(plain), rel=2e-4)
    # Adam hides what is wrong with the size of a gradient; its norm does not.
    assert gradient_norms(folder) == pytest.approx(gradient_norms(plain), rel=2e-3)


def test_one_example_that_does_not_fit_alone_is_named(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_arguments: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(GardenTrainer, "_forward_backward", no_memory)
    folder = start()
    assert run_worker(folder.path) == 1
    (failed,) = events(folder, "failed")
    assert failed.data["step"] == 1
    assert len(failed.data["rows"]) == 1
    assert "max_pixels" in failed.data["hint"]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_rows(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = GardenTrainer._forward_backward

    def broken(self: Any, model: Any, part: Any, scale: float) -> Any:
        return original(self, model, part, scale) * (float("nan") if self.state.global_step == 2 else 1)

    monkeypatch.setattr(GardenTrainer, "_forward_backward", broken)
    folder = start()
    assert run_worker(folder.path) == 1
    (failed,) = events(folder, "failed")
    assert failed.data["step"] == 3
    assert len(failed.data["rows"]) == 4
    assert "learning rate" in failed.data["hint"]
    assert [path.name for path in checkpoint_format.list_checkpoints(folder.checkpoints_dir)] == ["step-000002"]


def test_rows_that_are_too_long(start: Start, dataset: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.jsonl"
    rows = [json.loads(line) for line in dataset.read_text().splitlines()[:6]]
    for row in rows:
        row["image"] = str(dataset.parent / row["image"])
    rows[4]["response"] = "long " * 300
    long.write_text("".join(json.dumps(row) + "\n" for row in rows))

    folder = start(dataset=str(long), max_seq_length=128)
    assert run_worker(folder.path) == 2
    (failed,) = events(folder, "failed")
    assert "row 5" in failed.data["what"]
    assert not events(folder, "step")

    folder = start(dataset=str(long), max_seq_length=128, on_bad_row="skip", max_steps=1)
    assert run_worker(folder.path) == 0
    (skipped,) = events(folder, "rows_skipped")
    assert skipped.data["count"] == 1
    assert json.loads((folder.path / skipped.data["file"]).read_text().splitlines()[0])["row"] == 5


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ({"train_vision": "lora"}, {"language", "vision"}),
        ({"train_projector": "full"}, {"language", "projector"}),
        ({"train_language": "none", "train_projector": "full"}, {"projector"}),
        ({"train_vision": "lora", "use_dora": True}, {"language", "vision"}),
    ],
    ids=str,
)
def test_what_is_asked_for_is_trained_and_nothing_else(
    start: Start, options: dict[str, Any], trained: set[str]
) -> None:
    folder = start(max_steps=2, **options)
    assert run_worker(folder.path) == 0
    table = events(folder, "plan")[0].data["trainable"]
    assert {part for part, facts in table.items() if facts["trained"]} == trained


def test_a_second_worker_leaves_a_run_alone(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    from mg_tui.runs.lock import RunLock

    folder = start()
    with RunLock(folder.lock_file):
        before = folder.journal_file.read_bytes()
        code = subprocess.run(
            [sys.executable, "-m", "mg_tui.engine", str(folder.path)], capture_output=True, text=True, timeout=60
        )
    assert code.returncode == 1
    assert "already running this run" in code.stderr
    assert folder.journal_file.read_bytes() == before

"""The first-step probe, with a stand-in for the device's meter: what it finds, and that it leaves nothing behind."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mg_tui.core.events import Event
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run import memory_probe, setup, token_budget
from mg_tui.engine.run.trainer import GardenTrainer
from mg_tui.engine.run.worker import run_worker
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader

MIB = 2**20
Start = Callable[..., RunFolder]


@dataclass
class FakeMeter:
    """A device on which a pass takes `passing` bytes for each of `room`."""

    passing: int
    room_bytes: int
    started: int = 0

    def start(self) -> int:
        self.started += 1
        return 100 * MIB

    def peak(self) -> int:
        return 100 * MIB + self.passing

    def room(self) -> int:
        return self.room_bytes


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number in range(4):
        Image.effect_mandelbrot((84, 84), (-2 + number / 7, -1, 1, 1), 20).convert("RGB").save(folder / f"{number}.png")
        for word in ("red", "round", "large"):
            rows.append({"text": f"is it {word}?", "image": f"{number}.png", "response": f"{word} {number}"})
    rows.append({"text": "how?", "image": "0.png", "response": "in many words, " * 30})
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "data.jsonl"


@pytest.fixture
def start(tmp_path: Path, dataset: Path) -> Start:
    def make(**options: Any) -> RunFolder:
        quick = {
            "base_model": "tiny",
            "dataset": str(dataset),
            "max_steps": 3,
            "learning_rate": 5e-3,
            "gradient_accumulation_steps": 4,
            "warmup_ratio": 0,
            "workers": 0,
            "save_steps": 2,
            "sample_count": 0,
            "lora_r": 4,
            "lora_dropout": 0.2,
        }
        return RunFolder.create(tmp_path, TrainingSpec.parse({**quick, **options}), versions={})

    return make


def events(folder: RunFolder, kind: str) -> list[dict[str, Any]]:
    result: list[Event] = JournalReader(folder.journal_file).read_new()
    return [dict(event.data) for event in result if event.kind == kind]


def losses(folder: RunFolder) -> list[float]:
    return [event["loss"] for event in events(folder, "step")]


def use_meter(monkeypatch: pytest.MonkeyPatch, meter: FakeMeter) -> FakeMeter:
    monkeypatch.setattr(setup, "memory_meter_of", lambda _placed: meter)
    return meter


def test_a_probe_leaves_training_as_it_is_to_the_last_bit(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = start()
    assert run_worker(plain.path) == 0
    assert events(plain, "measured") == []
    assert any(d["what"] == "first-step probe" and "CPU" in d["why"] for d in events(plain, "decision"))

    meter = use_meter(monkeypatch, FakeMeter(passing=50 * MIB, room_bytes=8000 * MIB))
    probed = start()
    assert run_worker(probed.path) == 0
    assert meter.started > 0
    assert losses(probed) == losses(plain)
    item, other = (load_file(folder.model_dir / "adapter_model.safetensors") for folder in (plain, probed))
    assert all(torch.equal(item[name], other[name]) for name in item)

    (result,) = events(probed, "measured")
    assert (result["held_bytes"], result["measured_bytes"]) == (100 * MIB, 150 * MIB)
    assert result["tokens"] >= max(event["laid_out"] for event in events(probed, "step"))
    assert result["budget"] == events(probed, "plan")[0]["token_budget"] == 2048
    messages = [d for d in events(probed, "decision") if d["what"] == "token budget"]
    assert "estimated" in messages[0]["why"] and "took 0.1 GiB (estimated" in messages[-1]["why"]


def test_what_is_measured_sets_the_budget(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = start(lora_dropout=0)
    assert run_worker(plain.path) == 0
    use_meter(monkeypatch, FakeMeter(passing=2000 * MIB, room_bytes=1000 * MIB))
    tight = start(lora_dropout=0)
    assert run_worker(tight.path) == 0
    (result,) = events(tight, "measured")
    assert result["budget"] < result["tokens"]
    assert losses(tight) == pytest.approx(losses(plain), rel=1e-4)

    saved = checkpoint_format.list_checkpoints(tight.checkpoints_dir)[-1]
    assert checkpoint_format.read_token_budget(saved) == result["budget"]


def test_a_budget_that_was_asked_for_is_not_touched(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = use_meter(monkeypatch, FakeMeter(passing=2000 * MIB, room_bytes=1000 * MIB))
    folder = start(token_budget=700, max_steps=1)
    assert run_worker(folder.path) == 0
    assert meter.started == 0
    assert events(folder, "plan")[0]["token_budget"] == 700


def test_the_plan_says_what_memory_is_expected(start: Start) -> None:
    folder = start(max_steps=1)
    assert run_worker(folder.path) == 0
    (plan,) = events(folder, "plan")
    assert plan["estimate_bytes"] == sum(plan["estimate"].values()) > 0
    assert {"language model", "adapter", "activations"} <= plan["estimate"].keys()


def limit_device_rows(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    original = GardenTrainer._forward_backward

    def forward(self: Any, model: Any, part: Any, scale: float) -> Any:
        done = original(self, model, part, scale)
        if len(part.rows) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return done

    monkeypatch.setattr(GardenTrainer, "_forward_backward", forward)


def test_a_probe_that_does_not_fit_makes_passes_shorter(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    use_meter(monkeypatch, FakeMeter(passing=50 * MIB, room_bytes=8000 * MIB))
    limit_device_rows(monkeypatch, rows=1)
    folder = start(max_steps=1)
    assert run_worker(folder.path) == 0
    assert events(folder, "measured")[0]["budget"] <= 1024
    assert losses(folder)


def test_a_row_that_does_not_fit_alone_is_named_before_the_first_step(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_meter(monkeypatch, FakeMeter(passing=50 * MIB, room_bytes=8000 * MIB))
    limit_device_rows(monkeypatch, rows=0)
    folder = start()
    assert run_worker(folder.path) == 1
    (failed,) = events(folder, "failed")
    assert failed["rows"] == [13]  # the longest, though the first step is not the one it is in
    assert losses(folder) == []


def test_a_resumed_run_lays_out_its_steps_as_before(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_budget, "usable_memory", lambda _placed: 10**12)
    folder = start(max_steps=3)
    assert run_worker(folder.path) == 0
    expected = losses(folder)
    checkpoint_folder = checkpoint_format.list_checkpoints(folder.checkpoints_dir)[-1]
    assert checkpoint_format.read_token_budget(checkpoint_folder) == 2048
    import shutil

    shutil.rmtree(checkpoint_folder)
    monkeypatch.setattr(token_budget, "usable_memory", lambda _placed: 0)  # next to nothing is free this time
    assert run_worker(folder.path) == 0
    assert [plan["token_budget"] for plan in events(folder, "plan")] == [2048, 2048]
    assert losses(folder)[-1] == expected[-1]
    (fresh,) = [start(max_steps=1)]
    assert run_worker(fresh.path) == 0
    assert events(fresh, "plan")[0]["token_budget"] < 2048


def test_the_meter_of_a_gpu_counts_what_the_allocator_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch's functions, stood in for: reserved bytes, unused pieces included, and a margin on what is free."""
    done: list[str] = []
    held = {"memory_reserved": 2000 * MIB, "max_memory_reserved": 3000 * MIB}
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *_device, name=name: done.append(name))
    for name, count in held.items():
        monkeypatch.setattr(torch.cuda, name, lambda _device, count=count: count)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (1000 * MIB, 24_000 * MIB))
    meter = memory_probe.CudaMemoryMeter("cuda:0")
    assert meter.start() == 2000 * MIB
    assert done == ["synchronize", "empty_cache", "reset_peak_memory_stats"]
    assert meter.peak() == 3000 * MIB
    assert meter.room() == int((0.95 * 1000 + 2000) * MIB)

"""A run on several datasets takes the steps of a run on the file that `datasets concat` writes of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

from mg_tui.core.dataset_parts import parse_part
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.row_loader import ReadOptions
from mg_tui.data.sources.opener import open_source
from mg_tui.data.subset import WeightedSource, concat_datasets
from mg_tui.engine.run.worker import run_worker
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader

WEIGHTED = ("photos.jsonl:2", "talk.jsonl:1.5")


def make_data(folder: Path) -> None:
    photos, talk = [], []
    for number in range(3):
        Image.new("RGB", (56, 56), (60 * number, 90, 160)).save(folder / f"{number}.png")
        photos.append({"text": f"what is {number}?", "image": f"{number}.png", "response": f"{number} is blue"})
    for number in range(4):
        turns = [{"role": "user", "content": f"say {number}"}, {"role": "assistant", "content": f"it is {number}"}]
        talk.append({"messages": turns})
    for name, rows in (("photos", photos), ("talk", talk)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def spelled_out(folder: Path, text: str) -> str:
    return f"{folder}/{text}"


def start(folder: Path, *datasets: str, **options: Any) -> RunFolder:
    quick = {
        "base_model": "tiny",
        "dataset": [spelled_out(folder, text) for text in datasets],
        "epochs": 2,
        "learning_rate": 2e-3,
        "gradient_accumulation_steps": 3,
        "workers": 0,
        "save_steps": 2,
        "save_total_limit": 9,
        "sample_count": 0,
        "lora_r": 2,
    }
    run = RunFolder.create(folder, TrainingSpec.parse({**quick, **options}), versions={})
    assert run_worker(run.path) == 0
    return run


def data_of(folder: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [dict(event.data) for event in JournalReader(folder.journal_file).read_new() if event.kind == kind]


def losses(folder: RunFolder) -> list[float]:
    return [event["loss"] for event in data_of(folder, "step")]


def test_the_steps_are_those_of_the_concatenated_file(tmp_path: Path) -> None:
    make_data(tmp_path)
    mixed = start(tmp_path, *WEIGHTED)
    parts = [parse_part(text) for text in WEIGHTED]
    sources = [
        WeightedSource(open_source(part.name, cwd=tmp_path, cache=None), ReadOptions(cwd=tmp_path), part.weight)
        for part in parts
    ]
    written = concat_datasets(sources, tmp_path / "concat.jsonl", seed=42)
    (plan,) = data_of(mixed, "plan")
    assert plan["examples"] == written.rows
    assert 6 + 4 < written.rows < 6 + 8
    assert losses(mixed) == losses(start(tmp_path, "concat.jsonl"))
    decisions = {event["what"]: event["value"] for event in data_of(mixed, "decision")}
    assert decisions[f"dataset {tmp_path}/photos.jsonl"] == "6 examples of rows 1 to 3, weight 2"
    assert decisions[f"dataset {tmp_path}/talk.jsonl"].endswith("examples of rows 4 to 7, weight 1.5")


def test_a_resumed_run_takes_the_steps_that_are_left(tmp_path: Path) -> None:
    make_data(tmp_path)
    run = start(tmp_path, *WEIGHTED)
    weights = next(run.model_dir.glob("*model.safetensors"))
    before, first = load_file(weights), losses(run)
    for path in checkpoint_format.list_checkpoints(run.checkpoints_dir):
        if (checkpoint_format.step_of(path) or 0) > 2:
            shutil.rmtree(path)
    assert run_worker(run.path) == 0
    assert data_of(run, "started")[1]["resumed_from"] == 2
    assert losses(run)[len(first) :] == first[2:]
    assert not [event for event in data_of(run, "warning") if "changed" in event["what"]]
    after = load_file(weights)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_held_out_rows_are_seen_once_and_never_trained_on(tmp_path: Path) -> None:
    make_data(tmp_path)
    run = start(tmp_path, "photos.jsonl:3", "talk.jsonl:2", eval_split=0.3, max_steps=1)
    (plan,) = data_of(run, "plan")
    assert plan["eval_examples"] == 2
    assert plan["examples"] in {3 * 3 + 2 * 2, 3 * 2 + 2 * 3, 3 * 1 + 2 * 4}

"""What the tasks train on, created at run time: checkpoints without weights, and synthetic images with questions."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.model import make_files
from harness.synthetic_data import KINDS, make_rows
from tasks import BenchmarkSetting, TaskReport

from mg_tui.families.registry import load_registry

CONFIGS = Path(__file__).parents[2] / "plugins" / "qwen2_5_vl" / "tests" / "configs"
SIDE, DRY_SIDE = 448, 112  # pixels of an image
PER_STEP = 40  # rows of an optimizer step


def tiny_checkpoint() -> Path:
    """The checkpoint that is bundled with Model Garden."""
    family = load_registry().by_model_type("qwen2_5_vl")
    path = next(checkpoint.path for checkpoint in family.checkpoints if checkpoint.name == "tiny")
    assert path is not None
    return path


def checkpoint_folder(setting: BenchmarkSetting, size: str | None = None) -> Path:
    """The folder of a model: "3B", "7B", "small" (134.7M parameters) or "tiny"; see `write_checkpoints`."""
    size = size or setting.size
    return tiny_checkpoint() if size == "tiny" or setting.dry else setting.scratch / f"checkpoint-{size}"


def load_config(setting: BenchmarkSetting, size: str | None = None) -> dict[str, Any]:
    """The `config.json` of a model."""
    config: dict[str, Any] = json.loads((checkpoint_folder(setting, size) / "config.json").read_text())
    return config


def write_checkpoints(_report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: configuration, tokenizer and image processor of the models with random weights."""
    if not setting.dry:
        make_files(setting.scratch / "checkpoint-small")
        config = json.loads((CONFIGS / f"Qwen2.5-VL-{setting.size}-Instruct.json").read_text())
        make_files(setting.scratch / f"checkpoint-{setting.size}", config)


@dataclass(frozen=True, slots=True)
class BenchmarkRows:
    """A dataset: `per_image` questions about each square image, for `steps` optimizer steps of `per_step` rows."""

    per_image: int
    steps: int
    per_step: int
    side: int

    @property
    def options(self) -> dict[str, Any]:
        """Options of a run on it: its rows per step, and images at their own size."""
        return {"gradient_accumulation_steps": self.per_step, "max_pixels": self.side**2}

    def file(self, setting: BenchmarkSetting) -> Path:
        """The file that `write` creates."""
        return setting.scratch / f"rows-{self.per_image}-{self.side}" / "rows.jsonl"

    def write(self, setting: BenchmarkSetting) -> Path:
        """Create images and rows, unless they exist."""
        kind = replace(KINDS["vqa"], per_image=self.per_image, per_step=self.per_step)
        return make_rows(self.file(setting).parent, kind, self.steps, side=self.side)


def five_question_rows(setting: BenchmarkSetting) -> BenchmarkRows:
    """5 questions per image."""
    return small_rows() if setting.dry else BenchmarkRows(5, 23, PER_STEP, SIDE)


def one_question_rows(setting: BenchmarkSetting) -> BenchmarkRows:
    """1 question per image."""
    return BenchmarkRows(1, 2, 5, DRY_SIDE) if setting.dry else BenchmarkRows(1, 8, PER_STEP, SIDE)


def small_rows() -> BenchmarkRows:
    """5 questions per image, for the tiny model."""
    return BenchmarkRows(5, 3, 10, DRY_SIDE)


def dataset_tasks(setting: BenchmarkSetting) -> list[Callable[[TaskReport, BenchmarkSetting], None]]:
    """A task for each dataset, which writes it."""
    datasets = [small_rows(), five_question_rows(setting), one_question_rows(setting)]

    def writer(rows: BenchmarkRows) -> Callable[[TaskReport, BenchmarkSetting], None]:
        def write(_report: TaskReport, setting: BenchmarkSetting) -> None:
            rows.write(setting)

        return write

    return [writer(rows) for rows in {rows.file(setting): rows for rows in datasets}.values()]

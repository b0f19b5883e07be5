"""A training process of several, for test_distributed.py: `python rank_worker.py OUT LAYOUT`, as ranks are run.

Two optimizer steps of the tiny model; writes its losses, the facts of its steps and the gradients of the first.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from mg_qwen2_5_vl import QWEN2_5_VL
from PIL import Image
from transformers import TrainerCallback, TrainingArguments

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.batching.batches import PaddedLayout, StepDataset
from mg_tui.engine.batching.packed_layout import PackedLayout
from mg_tui.engine.batching.step_stream import StepStream
from mg_tui.engine.batching.vision_inputs import VisionInputs
from mg_tui.engine.layout.partition import StepPartition, World
from mg_tui.engine.layout.plan import StepPlan
from mg_tui.engine.run import trainable_parameters
from mg_tui.engine.run.distributed import GradientSync
from mg_tui.engine.run.process_group import join_group
from mg_tui.engine.run.trainer import GardenTrainer
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.contract import LoadRequest, Preprocessing
from mg_tui.families.split_encoding import SplitEncoder

TINY = str(QWEN2_5_VL.checkpoints[-1].path)
LIMITS = Preprocessing(min_pixels=784, max_pixels=20_000)
PER_STEP = 5
IMAGES = {
    f"/{number}": Image.effect_mandelbrot((84, 84), (-2 + number / 9, -1.5, 1, 1.5), 30).convert("RGB")
    for number in range(2)
}


def examples() -> list[Example]:
    """The first step has images on one rank and text alone on the other, and the second no image at all."""
    rows: list[tuple[str | None, str, str]]
    rows = [("/0", "what is it?", "a thing"), ("/0", "which one?", "that"), ("/1", "and this?", "another thing")]
    rows += [(None, "say a lot", "a great many words and then some more of them, on and on " * 2)] * 2
    rows += [(None, f"say {n}", f"{n} is said") for n in range(4)]
    examples = []
    for number, (image_file, question, answer) in enumerate(rows, 1):
        images = (ImagePart(ImageRef(image_file, image_file)),) if image_file else ()
        user = Message("user", (*images, TextPart(question)))
        examples.append(Example(number, (user, Message("assistant", (TextPart(answer),))), 1.0 + number % 3))
    return examples


class NullObject:
    """Stands for a journal, a store and a stopper: takes everything and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_arguments, **_named: None


class StepRecorder(TrainerCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.trainer: Any = None
        self.steps: list[dict[str, Any]] = []
        self.gradients: dict[str, torch.Tensor] = {}
        self.without: set[str] = set()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.steps:
            self.gradients = {name: p.grad.clone() for name, p in trainable.items() if p.grad is not None}
        else:
            self.without = {name for name, p in trainable.items() if p.grad is None}

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        facts = self.trainer.step_metrics
        names = ("loss", "supervised_tokens", "tokens", "images", "rows")
        self.steps.append({name: getattr(facts, name) for name in names})


class RelaidRecorder(NullObject):
    """A journal that keeps the steps that were laid out again."""

    def __init__(self) -> None:
        self.relaid: list[dict[str, Any]] = []

    def write(self, kind: str, /, **data: Any) -> None:
        if kind == "relaid":
            self.relaid.append(data)


def fail_once(trainer: GardenTrainer, world: World) -> None:
    """Let the last rank's first forward pass of several rows fail as if the memory of its device did not suffice."""
    forward, failed = trainer._forward_backward, []

    def short_of_memory(model: Any, part: Any, scale: float) -> torch.Tensor:
        loss = forward(model, part, scale)
        if world.rank == world.size - 1 and len(part.rows) > 1 and not failed:
            failed.append(part.rows)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss

    trainer._forward_backward = short_of_memory  # type: ignore[method-assign]


def train(out: Path, kind: str, world: World) -> dict[str, Any]:
    """Two steps as one of `world`; what they were."""
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "d", "lora_r": 4, "train_vision": "lora"})
    model = QWEN2_5_VL.load_model(QWEN2_5_VL, LoadRequest(TINY, dtype="float32", device="cpu"))
    model = trainable_parameters.make_trainable(model, QWEN2_5_VL, spec)
    encoder = QWEN2_5_VL.make_collator(QWEN2_5_VL, QWEN2_5_VL.load_processor(QWEN2_5_VL, TINY, LIMITS), LIMITS)
    assert isinstance(encoder, ExampleEncoder)
    layout: Any = PaddedLayout(encoder, 2) if kind == "padded" else PackedLayout(SplitEncoder(encoder), 150)
    rows = examples()
    tokens = [40 + 10 * len(row.images) + len(row.response) // 4 for row in rows]
    partition = StepPartition(world, tokens) if world.size > 1 else None
    plan = StepPlan(len(rows), PER_STEP, shuffle=False)
    dataset = StepDataset(rows, plan, layout, IMAGES.__getitem__, partition)
    recorder = StepRecorder()
    nothing: Any = NullObject()
    journal: Any = RelaidRecorder()
    trainer = GardenTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(out),
            use_cpu=True,
            max_steps=2,
            per_device_train_batch_size=1,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            label_names=[],
            remove_unused_columns=False,
            log_level="error",
        ),
        callbacks=[recorder],
        stream=StepStream(dataset, start=0, total=2, workers=0, pin_memory=False),
        eval_batches=None,
        store=nothing,
        stopper=nothing,
        journal=journal,
        vision=VisionInputs(frozen=False),
        sync=GradientSync(world),
    )
    recorder.trainer = trainer
    if kind == "out of memory on rank 1":
        fail_once(trainer, world)
    trainer.train()
    passes = [len(dataset[number].micro_batches) for number in range(2)]
    found = {"steps": recorder.steps, "gradients": recorder.gradients, "without": recorder.without, "passes": passes}
    return {**found, "relaid": journal.relaid, "budget": getattr(layout, "budget", None)}


if __name__ == "__main__":
    folder, world = Path(sys.argv[1]), World.from_environment()
    torch.set_num_threads(1)
    join_group(world, cuda=False, patience=120)
    torch.save(train(folder, sys.argv[2], world), folder / f"{world.rank}.pt")
    torch.distributed.destroy_process_group()

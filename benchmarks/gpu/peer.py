"""The same rows and model with TRL if it is installed, else with transformers' Trainer and the processor's collator.

Both use the best options that we know: sdpa, fused AdamW, bfloat16 autocast, checkpointing as in our runs, four data
workers, and the faster of two batch sizes. Their steps have as many rows as ours.
"""

import importlib.util
import time
from typing import Any

import torch
from device import open_device
from inputs import BenchmarkRows, checkpoint_folder, five_question_rows, one_question_rows
from model import load_random_model
from tasks import BenchmarkSetting, TaskReport
from throughput import add_tflops
from transformers import TrainerCallback

from mg_tui.families.contract import LoadRequest

LANGUAGE_LINEARS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
ANSWER_PREFIX = 3  # tokens: <|im_start|>, "assistant", a line break


def best_of_two_batch_sizes(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: 5 questions per image with both batch sizes, then 1 question with the faster one."""
    program = "trl" if importlib.util.find_spec("trl") is not None else "transformers"
    report.put(program=program)
    rows = five_question_rows(setting)
    results = {}
    for batch in (5, 10) if setting.dry else (8, rows.per_step):
        try:
            results[batch] = _measure(setting, program, rows, batch)
        except torch.OutOfMemoryError as error:
            report.add("five", {"batch": batch, "why_not": str(error).splitlines()[0][:200]})
            continue
        report.add("five", results[batch])
    best = max(results, key=lambda batch: results[batch]["samples_per_second"])
    rows = one_question_rows(setting)
    report.put(one=_measure(setting, program, rows, min(best, rows.per_step)))


def _measure(setting: BenchmarkSetting, program: str, rows: BenchmarkRows, batch: int) -> dict[str, Any]:
    """Some steps of a new model: speed, and peak memory."""
    from peft import LoraConfig

    steps = range(1, 2) if setting.dry else range(3, 8)
    quantization, dtype = ("none", "float32") if setting.dry else ("nf4", "bfloat16")
    request = LoadRequest(str(checkpoint_folder(setting)), dtype, setting.device, quantization=quantization)
    lora = LoraConfig(r=16, lora_alpha=16, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=LANGUAGE_LINEARS)
    make_trainer = _trl_trainer if program == "trl" else _transformers_trainer
    arguments = _arguments(setting, rows, batch, steps.stop - 1)
    trainer = make_trainer(load_random_model(None, request), _processor(setting, rows), rows, setting, arguments, lora)
    timer = StepTimer(steps, setting)
    trainer.add_callback(timer)
    trainer.train()
    total = rows.per_step * len(steps)
    tokens, supervised = (count * total for count in _tokens_per_row(trainer))
    speed = {
        "batch": batch,
        "seconds": timer.seconds,
        "samples_per_second": total / timer.seconds,
        "tokens": tokens,
        "laid_out": tokens,
        "tokens_per_second": tokens / timer.seconds,
        "images_encoded": total,
        "supervised_tokens": supervised,
        "peak": open_device(setting).peaks()["allocated"],
        "losses": [entry["train_loss"] for entry in trainer.state.log_history if "train_loss" in entry],
    }
    return add_tflops(setting, speed)


def _arguments(setting: BenchmarkSetting, rows: BenchmarkRows, batch: int, steps: int) -> dict[str, Any]:
    return {
        "output_dir": str(setting.scratch / "peer"),
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": rows.per_step // batch,
        "max_steps": steps,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "bf16": not setting.dry,
        "use_cpu": setting.dry,
        "optim": "adamw_torch" if setting.dry else "adamw_torch_fused",
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "dataloader_num_workers": 0 if setting.dry else 4,
        "save_strategy": "no",
        "report_to": "none",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }


def _processor(setting: BenchmarkSetting, rows: BenchmarkRows) -> Any:
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(str(checkpoint_folder(setting)))
    images = processor.image_processor
    images.size = type(images.size)(shortest_edge=3136, longest_edge=rows.side**2)
    return processor


class StepTimer(TrainerCallback):  # type: ignore[misc]
    """Times the steps of a range (numbers from 1), and restarts the peak memory statistics before the first."""

    def __init__(self, steps: range, setting: BenchmarkSetting):
        self.steps = steps
        self.seconds = 0.0
        self._setting = setting
        self._started = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start."""
        if state.global_step + 1 == self.steps.start:
            if not self._setting.dry:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop."""
        if state.global_step + 1 == self.steps.stop:
            if not self._setting.dry:
                torch.cuda.synchronize()
            self.seconds = time.perf_counter() - self._started


def _tokens_per_row(trainer: Any) -> tuple[float, float]:
    """Tokens without padding, and supervised ones; the mean of the first rows."""
    rows = [trainer.train_dataset[number] for number in range(min(len(trainer.train_dataset), 20))]
    batch = trainer.data_collator(rows)
    supervised = (batch["labels"] != -100).sum()
    return float(batch["attention_mask"].sum()) / len(rows), float(supervised) / len(rows)


def _transformers_trainer(
    model: Any, processor: Any, rows: BenchmarkRows, setting: BenchmarkSetting, arguments: dict[str, Any], lora: Any
) -> Any:
    from harness.synthetic_data import read_rows
    from peft import get_peft_model
    from transformers import Trainer, TrainingArguments

    model.requires_grad_(False)
    return Trainer(
        model=get_peft_model(model, lora),
        args=TrainingArguments(**arguments, remove_unused_columns=False),
        train_dataset=list(read_rows(rows.file(setting))),
        data_collator=ProcessorCollator(processor),
    )


def _trl_trainer(
    model: Any, processor: Any, rows: BenchmarkRows, setting: BenchmarkSetting, arguments: dict[str, Any], lora: Any
) -> Any:
    from datasets import Dataset, Image, List
    from harness.synthetic_data import read_rows
    from trl import SFTConfig, SFTTrainer

    records = [
        {
            "prompt": [{"role": "user", "content": row.text}],
            "completion": [{"role": "assistant", "content": row.response}],
            "images": [row.image],
        }
        for row in read_rows(rows.file(setting))
    ]
    return SFTTrainer(
        model=model,
        args=SFTConfig(**arguments, loss_type="chunked_nll", max_length=None),
        train_dataset=Dataset.from_list(records).cast_column("images", List(Image())),
        peft_config=lora,
        processing_class=processor,
    )


class ProcessorCollator:
    """Turns rows into a padded batch with the model's own processor; only answers are supervised."""

    def __init__(self, processor: Any):
        self.processor = processor
        self._turn_token = processor.tokenizer.convert_tokens_to_ids("<|im_start|>")

    def __call__(self, rows: list[Any]) -> dict[str, Any]:
        """The batch, with labels."""
        from PIL import Image

        texts, images = [], []
        for row in rows:
            question = [{"type": "image"}, {"type": "text", "text": row.text}]
            turns = [{"role": "user", "content": question}]
            turns.append({"role": "assistant", "content": [{"type": "text", "text": row.response}]})
            texts.append(self.processor.apply_chat_template(turns, tokenize=False))
            with Image.open(row.image) as image:
                images.append(image.convert("RGB"))
        batch = dict(self.processor(text=texts, images=images, padding=True, return_tensors="pt"))
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        for label in labels:
            label[: int((label == self._turn_token).nonzero()[-1]) + ANSWER_PREFIX] = -100
        return {**batch, "labels": labels}

"""ms-swift: `swift sft`. It declares neither qwen_vl_utils nor torchvision, which Qwen2.5-VL needs."""

import json
from collections.abc import Mapping
from pathlib import Path

from peers import base
from peers.base import Job


class Swift:
    """ms-swift."""

    key = "swift"
    title = "ms-swift"
    requirements: tuple[str, ...] = ("ms-swift==4.6.0", "qwen_vl_utils", "torchvision")
    removed: tuple[str, ...] = ()

    def command(self, job: Job, programs: Path) -> list[str]:
        """See `Peer`."""
        data = job.folder / "swift.jsonl"
        lines = (
            {
                "messages": [
                    {"role": "user", "content": f"<image>{row.text}"},
                    {"role": "assistant", "content": row.response},
                ],
                "images": [row.image],
            }
            for row in job.ordered_rows
        )
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
        options: dict[str, object] = {
            "model": job.model,
            "model_type": job.family.swift,
            "template": job.family.swift,
            "dataset": data,
            "output_dir": job.folder / "out",
            "tuner_type": "lora",
            "target_modules": "all-linear",
            "freeze_vit": True,
            "freeze_aligner": True,
            "lora_rank": base.LORA_RANK,
            "lora_alpha": base.LORA_ALPHA,
            "lora_dropout": 0,
            "torch_dtype": "float32",
            "fp16": False,
            "bf16": False,
            "use_cpu": True,
            "attn_impl": "sdpa",
            "per_device_train_batch_size": job.batch,
            "gradient_accumulation_steps": job.accumulation_steps,
            "max_steps": job.steps,
            "max_length": base.MAX_LENGTH,
            "optim": "adamw_torch",
            "learning_rate": base.LEARNING_RATE,
            "lr_scheduler_type": "constant",
            "warmup_ratio": 0,
            "weight_decay": 0,
            "adam_beta2": 0.999,
            "max_grad_norm": base.MAX_GRAD_NORM,
            "seed": base.SEED,
            "dataset_shuffle": False,
            "train_dataloader_shuffle": False,
            "dataloader_num_workers": 0,
            "dataset_num_proc": 1,
            "split_dataset_ratio": 0,
            "logging_steps": 1,
            "save_strategy": "no",
            "eval_strategy": "no",
            "report_to": "none",
            "add_version": False,
            "use_hf": True,
        }
        if job.checkpointing is not None:
            options["gradient_checkpointing"] = job.checkpointing
        flags = [text for name, value in options.items() for text in (f"--{name}", _text(value))]
        return [str(programs / "swift"), "sft", *flags]

    def environment(self, job: Job) -> Mapping[str, str]:
        """See `Peer`."""
        return {}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

"""LLaMA-Factory: `llamafactory-cli train`. torchaudio is taken out and a stand-in is put where it is imported."""

import json
from collections.abc import Mapping
from pathlib import Path

from peers import base
from peers.base import Job

STUBS = Path(__file__).parent / "stubs"


class LlamaFactory:
    """LLaMA-Factory."""

    key = "lf"
    title = "LLaMA-Factory"
    requirements: tuple[str, ...] = ("llamafactory==0.9.5",)
    removed: tuple[str, ...] = ("torchaudio",)

    def command(self, job: Job, programs: Path) -> list[str]:
        """See `Peer`."""
        data = job.folder / "lf"
        data.mkdir(exist_ok=True)
        rows = [
            {
                "messages": [
                    {"role": "user", "content": f"<image>{row.text}"},
                    {"role": "assistant", "content": row.response},
                ],
                "images": [row.image],
            }
            for row in job.ordered_rows
        ]
        (data / "rows.json").write_text(json.dumps(rows))
        tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
        described = {
            "file_name": "rows.json",
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images"},
            "tags": tags,
        }
        (data / "dataset_info.json").write_text(json.dumps({"rows": described}))
        options: dict[str, object] = {
            "model_name_or_path": str(job.model),
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "lora_rank": base.LORA_RANK,
            "lora_alpha": base.LORA_ALPHA,
            "lora_dropout": 0.0,
            "lora_target": "all",
            "freeze_vision_tower": True,
            "freeze_multi_modal_projector": True,
            "dataset_dir": str(data),
            "dataset": "rows",
            "template": job.family.factory,
            "cutoff_len": base.MAX_LENGTH,
            "image_max_pixels": 12_845_056,
            "image_min_pixels": 3_136,
            "overwrite_cache": True,
            "preprocessing_num_workers": 1,
            "dataloader_num_workers": 0,
            "disable_shuffling": True,
            "output_dir": str(job.folder / "out"),
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "per_device_train_batch_size": job.batch,
            "gradient_accumulation_steps": job.accumulation_steps,
            "max_steps": job.steps,
            "learning_rate": base.LEARNING_RATE,
            "lr_scheduler_type": "constant",
            "warmup_ratio": 0.0,
            "weight_decay": 0.0,
            "max_grad_norm": base.MAX_GRAD_NORM,
            "optim": "adamw_torch",
            "seed": base.SEED,
            "flash_attn": "sdpa",
            "bf16": False,
            "fp16": False,
            "use_cpu": True,
        }
        if job.checkpointing is not None:
            options["disable_gradient_checkpointing"] = not job.checkpointing
        file = job.folder / "lf.yaml"
        file.write_text(json.dumps(options, indent=1))  # JSON is YAML
        return [str(programs / "llamafactory-cli"), "train", str(file)]

    def environment(self, job: Job) -> Mapping[str, str]:
        """See `Peer`."""
        return {"PYTHONPATH": str(STUBS)}

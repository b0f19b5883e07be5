"""TRL's SFTTrainer as asked for by a JSON file; runs in TRL's environment: `python trl_sft.py asked.json`."""

import json
import sys
from pathlib import Path
from typing import Any

LANGUAGE_LINEARS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


def main(options: dict[str, Any]) -> None:
    """Train."""
    from datasets import Image, List, load_dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    rows = load_dataset("json", data_files=options["data"], split="train").cast_column("images", List(Image()))
    arguments = SFTConfig(
        **options["arguments"],
        loss_type="chunked_nll",
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        optim="adamw_torch",
        use_cpu=True,
        bf16=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        train_sampling_strategy="sequential",
        disable_tqdm=True,
        model_init_kwargs={"dtype": "float32"},
    )
    if options["labelled_only"]:
        import trl.trainer.utils

        # Only the choice of positions asks this on the way; the kernels look for CUDA themselves.
        trl.trainer.utils._use_triton = lambda device: True
    lora = LoraConfig(**options["lora"], task_type="CAUSAL_LM", target_modules=LANGUAGE_LINEARS)
    SFTTrainer(model=options["model"], args=arguments, train_dataset=rows, peft_config=lora).train()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))

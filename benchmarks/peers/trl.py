"""TRL: `SFTTrainer` on prompt and completion, rows in the order of the file.

Its default loss, `chunked_nll`, scores labelled positions only on CUDA and every position on a CPU. `Trl` is given its
CUDA choice here too; `TrlAsShipped` is not.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from peers import base
from peers.base import Job

PROGRAM = Path(__file__).parent / "programs" / "trl_sft.py"


class Trl:
    """TRL with the positions it scores on CUDA."""

    key = "trl"
    title = "TRL"
    requirements: tuple[str, ...] = (
        "trl==1.16.0",
        "transformers==5.23.0",
        *("torch", "torchvision", "peft", "accelerate", "datasets", "pillow"),
    )
    removed: tuple[str, ...] = ()
    labelled_only = True

    def command(self, job: Job, programs: Path) -> list[str]:
        """See `Peer`."""
        data = job.folder / "trl.jsonl"
        lines = (
            {
                "prompt": [{"role": "user", "content": row.text}],
                "completion": [{"role": "assistant", "content": row.response}],
                "images": [row.image],
            }
            for row in job.ordered_rows
        )
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
        options = {
            "model": str(job.model),
            "data": str(data),
            "labelled_only": self.labelled_only,
            "lora": {"r": base.LORA_RANK, "lora_alpha": base.LORA_ALPHA, "lora_dropout": 0.0},
            "arguments": {
                "output_dir": str(job.folder / "out"),
                "per_device_train_batch_size": job.batch,
                "gradient_accumulation_steps": job.accumulation_steps,
                "max_steps": job.steps,
                "learning_rate": base.LEARNING_RATE,
                "max_grad_norm": base.MAX_GRAD_NORM,
                "seed": base.SEED,
                "max_length": base.MAX_LENGTH,
                **({} if job.checkpointing is None else {"gradient_checkpointing": job.checkpointing}),
            },
        }
        file = job.folder / "trl.json"
        file.write_text(json.dumps(options))
        return [str(programs / "python"), str(PROGRAM), str(file)]

    def environment(self, job: Job) -> Mapping[str, str]:
        """See `Peer`."""
        return {}


class TrlAsShipped(Trl):
    """TRL as it runs on a CPU."""

    key = "trl-cpu"
    title = "TRL as on a CPU"
    labelled_only = False

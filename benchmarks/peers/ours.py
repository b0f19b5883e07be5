"""Model Garden: `model-garden train-vision`, as a person starts it. The run's journal lies in the job's folder."""

from collections.abc import Mapping
from pathlib import Path

from peers import base
from peers.base import Job


class Ours:
    """Model Garden, from the environment that the benchmark itself runs in."""

    key = "ours"
    title = "Model Garden"
    requirements: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __init__(self, extra: tuple[str, ...] = ()):
        self.extra = extra

    def command(self, job: Job, programs: Path) -> list[str]:
        """See `Peer`."""
        options: dict[str, object] = {
            "base-model": job.model,
            "dataset": job.rows,
            "epochs": job.epochs,
            "batch-size": job.batch,
            "gradient-accumulation-steps": job.accumulation_steps,
            "learning-rate": base.LEARNING_RATE,
            "scheduler": "constant",
            "warmup-ratio": 0,
            "weight-decay": 0,
            "max-grad-norm": base.MAX_GRAD_NORM,
            "lora-r": base.LORA_RANK,
            "lora-alpha": base.LORA_ALPHA,
            "seed": base.SEED,
            "max-seq-length": base.MAX_LENGTH,
            "dtype": "float32",
            "quantization": "none",
            "device": "cpu",
            "sample-count": 0,
            "save-steps": 1_000_000,
        }
        flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        if job.checkpointing is not None:
            flags.append("--gradient-checkpointing" if job.checkpointing else "--no-gradient-checkpointing")
        return [str(programs / "model-garden"), "train-vision", *flags, *self.extra]

    def environment(self, job: Job) -> Mapping[str, str]:
        """See `Peer`."""
        folder = job.folder / "garden"
        return {
            "MODEL_GARDEN_HOME": str(folder / "home"),
            "MODEL_GARDEN_CACHE": str(folder / "cache"),
            "MODEL_GARDEN_CONFIG": str(folder / "none.toml"),
        }

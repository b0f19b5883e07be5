"""What a peer is to the benchmark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.family_models import BenchmarkModel
from harness.synthetic_data import QuestionRow

LORA_RANK, LORA_ALPHA, LEARNING_RATE, MAX_GRAD_NORM, SEED, MAX_LENGTH = 16, 32, 1e-3, 1.0, 42, 2048


@dataclass(frozen=True, slots=True)
class Job:
    """One process to be timed.

    `model` is the folder of a checkpoint, and `family` which model it is. `batch` x `accumulate` rows make a step.
    `checkpointing` None leaves it as the program has it. `rows` holds the data set, and `ordered` its rows in the order
    in which they are to be met.
    """

    model: Path
    family: BenchmarkModel
    rows: Path
    ordered_rows: Sequence[QuestionRow]
    steps: int
    epochs: int
    batch: int
    accumulation_steps: int
    checkpointing: bool | None
    folder: Path


class Peer(Protocol):
    """A program that trains. `requirements` are installed into an environment of its own, `removed` taken out again."""

    key: str
    title: str
    requirements: tuple[str, ...]
    removed: tuple[str, ...]

    def command(self, job: Job, programs: Path) -> list[str]:
        """Write what it reads into the job's folder; the command line. `programs`: the environment's bin folder."""
        ...

    def environment(self, job: Job) -> Mapping[str, str]:
        """What it needs in the environment beside what everyone has."""
        ...

"""What is read off a run: steps, losses, memory, and when the first step came."""

import itertools
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from harness.process import ProcessResult

Purpose = Literal["speed", "memory"]
FIRST_COUNTED_STEP = 3  # the first steps warm up


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run. Seconds, MiB; lists have an item for each optimizer step. `others` is the share of the cores that others
    kept busy; `first_begun` and `first_done` count from the start of the command. What only our journal tells is empty
    for peers.
    """

    peer: str
    kind: str
    purpose: Purpose
    batch: int
    accumulate: int
    repeat: int
    steps_per_epoch: int
    seconds: list[float]
    losses: list[float]
    supervised: list[int]
    first_begun: float
    first_done: float
    loaded_mib: float
    peak_mib: float
    workers_mib: float
    others: float
    checkpointing: bool
    trained: int
    tokens: list[int] = field(default_factory=list)
    laid_out: list[int] = field(default_factory=list)
    encoded: list[int] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    decisions: dict[str, str] = field(default_factory=dict)

    @property
    def per_step(self) -> int:
        """Examples of an optimizer step."""
        return self.batch * self.accumulate

    @property
    def above_mib(self) -> float:
        """Peak memory above that of the loaded model; what data workers have for themselves is added."""
        return self.peak_mib - self.loaded_mib + self.workers_mib

    def first_epoch(self) -> list[int]:
        """The counted steps of the first epoch, from 0."""
        return list(range(FIRST_COUNTED_STEP - 1, min(self.steps_per_epoch, len(self.seconds))))

    def later_epochs(self) -> list[int]:
        """The counted steps of later epochs: those that needed no image encoded.

        Workers read ahead, so in a short benchmark the first steps of the second epoch were prepared before all
        features were there.
        """
        later = range(self.steps_per_epoch, len(self.seconds))
        return [step for step in later if not self.encoded or not self.encoded[step]]

    def rate(self, steps: Iterable[int]) -> float | None:
        """Examples per second over some steps; None for none."""
        seconds = [self.seconds[step] for step in steps]
        return len(seconds) * self.per_step / sum(seconds) if seconds else None

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text()))


def from_probe(record: dict[str, Any], ran: ProcessResult, **about: Any) -> Measurement:
    """A peer's run, by its probe."""
    ends = [record["t_first_step_begin"], *record["step_end"]]
    return Measurement(
        **about,
        seconds=[after - before for before, after in itertools.pairwise(ends)],
        losses=record["losses"],
        supervised=record["label_tokens"],
        first_begun=record["t_first_step_begin"],
        first_done=record["step_end"][0],
        **_common(record, ran),
    )


def from_journal(record: dict[str, Any], journal: Path, ran: ProcessResult, **about: Any) -> Measurement:
    """Our run: memory by the probe, everything else by the run's journal."""
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    steps = [event for event in events if event["kind"] == "step"]
    begun = steps[0]["t"] - steps[0]["seconds"]
    ends = [begun, *(step["t"] for step in steps)]
    return Measurement(
        **about,
        seconds=[after - before for before, after in itertools.pairwise(ends)],
        losses=[step["loss"] for step in steps],
        supervised=[step["supervised_tokens"] for step in steps],
        first_begun=begun - ran.started,
        first_done=steps[0]["t"] - ran.started,
        **_common(record, ran),
        tokens=[step["tokens"] for step in steps],
        laid_out=[step["laid_out"] for step in steps],
        encoded=[step["images_encoded"] for step in steps],
        cached=[step["images_cached"] for step in steps],
        waited=[step["data_wait"] for step in steps],
        decisions={e["what"]: f"{e['value']} ({e['why']})" for e in events if e["kind"] == "decision"},
    )


def _common(record: dict[str, Any], ran: ProcessResult) -> dict[str, Any]:
    return {
        "loaded_mib": record["memory_begin"]["VmRSS"],
        "peak_mib": record["memory_end"]["VmHWM"],
        "workers_mib": ran.workers_mib,
        "others": ran.others,
        "checkpointing": record["checkpointing"],
        "trained": record["trained_numbers"],
    }


def median(values: Sequence[float | None]) -> float | None:
    """The median of those that are there."""
    result = [value for value in values if value is not None]
    return statistics.median(result) if result else None

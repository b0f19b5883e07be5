"""Made-up runs to look at: for tests of the dashboard, its screenshots, and whoever writes a widget.

    with garden(tmp_path) as home: ...

writes a home folder with a finished, a running, a stopped, a failed, a crashed and a waiting run. The running one
holds its lock for as long as the context is open. Journals are written by the real writer, so that they replay.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.core.events import Event
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder, spec_digest
from mg_tui.runs.lock import RunLock
from mg_tui.runs.queue import QueueRecord, write_queue_record

GIB: Final = 1 << 30
HOSTILE: Final = "[bold red]no[/] \x1b[31mred\x1b]0;title\x07 \u202egnp.exe [@click=app.detach]q[/] $error"


@dataclass(frozen=True, slots=True)
class SyntheticRun:
    """What a synthetic run is like; `started_seconds_ago` counts back from `now`."""

    name: str
    state: str
    steps: int
    completed_steps: int
    started_seconds_ago: float
    seconds_per_step: float = 1.3
    model: str = "Qwen/Qwen2.5-VL-3B-Instruct"


SYNTHETIC_RUNS: Final = (
    SyntheticRun("receipts-lora-r32", "finished", 240, 240, 92_000, model="Qwen/Qwen2.5-VL-7B-Instruct"),
    SyntheticRun("chart-questions", "stopped", 800, 310, 70_000),
    SyntheticRun("handwriting", "failed", 400, 87, 51_000),
    SyntheticRun("street-signs", "crashed", 600, 233, 20_000),
    SyntheticRun("invoices-v2", "running", 500, 310, 420, model="Qwen/Qwen2.5-VL-3B-Instruct"),
    SyntheticRun("floor-plans", "created", 0, 0, 30),
)


@contextmanager
def synthetic_home(home: Path, runs: tuple[SyntheticRun, ...] = SYNTHETIC_RUNS) -> Iterator[Path]:
    """A home folder with synthetic runs; the locks of running ones are held inside of the context."""
    locks = []
    now = time.time()
    for run in runs:
        folder = make_run(home, run, now=now)
        if run.state == "running":
            locks.append(RunLock(folder.lock_file).acquire())
    try:
        yield home
    finally:
        for lock in locks:
            lock.release()


def make_run(home: Path, run: SyntheticRun, *, now: float) -> RunFolder:
    """One synthetic run's folder, its journal as a worker would have left it."""
    spec = TrainingSpec.parse(
        {"base_model": run.model, "dataset": f"/data/{run.name}/train.jsonl", "name": run.name, "lora_r": 32}
    )
    folder = RunFolder.create(home, spec, versions={"model-garden-tui": "0.3.0"})
    began = now - run.started_seconds_ago
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(began))
    folder = RunFolder(folder.path.rename(folder.path.with_name(f"{stamp}-{folder.id[16:]}")))
    journal = _Journal(folder, began)
    journal.write("created", name=run.name, spec_digest=spec_digest(spec), versions={})
    if run.state == "queued":
        journal.write("queued", 0.5, gpus="any", by="ada@box (dashboard)")
        write_queue_record(folder, QueueRecord(place=-run.started_seconds_ago, home=str(home)))
        journal.write("phase", 0.5, name="queued", detail="waits for a free GPU")
    elif run.state != "created":
        _write_training(journal, folder, run)
        _write_end(journal, run)
    journal.save()
    return folder


class _Journal:
    """Events with times of their own; the real writer stamps them with now."""

    def __init__(self, folder: RunFolder, began: float):
        self.folder = folder
        self.time = began
        self._events: list[Event] = []

    def write(self, kind: str, after: float = 0.0, **data: Any) -> None:
        self.time += after
        self._events.append(Event(len(self._events) + 1, self.time, kind, data))

    def save(self) -> None:
        self.folder.journal_file.write_text("".join(map(Event.to_line, self._events)), encoding="utf-8")


def _write_training(journal: _Journal, folder: RunFolder, run: SyntheticRun) -> None:
    dice = random.Random(run.name)
    journal.write("started", 1.0, pid=4242, host="box", attempt=1, resumed_from=None)
    journal.write("phase", 0.2, name="loading data", detail=f"/data/{run.name}/train.jsonl")
    journal.write("decision", 2.1, what="dtype", value="bfloat16", why="compute capability 9.0")
    journal.write("decision", what="quantisation", value="4-bit nf4", why="auto on a CUDA device")
    journal.write("phase", 0.3, name="loading model", detail=run.model)
    journal.write("plan", 11.0, examples=1_250, eval_examples=64, steps=run.steps, epochs=3, estimate_bytes=22 * GIB)
    journal.write("phase", name="training")
    if run.name == "street-signs":
        journal.write(
            "warning",
            what="3 images are larger than the cap and are reduced",
            where="rows 18, 204, 877",
            why="12.8 megapixels is above max_pixels",
            hint="raise --max-pixels if small print matters",
        )
    log = [f"loading {run.model}", "trainable parameters: 29,933,568 of 3,784,556,544 (0.79 %)"]
    for step in range(1, run.completed_steps + 1):
        share = step / run.steps
        loss = 2.3 * math.exp(-5 * share) + 0.32 + dice.gauss(0, 0.11) * (0.35 + math.exp(-3 * share))
        warm = min(share / 0.05, 1.0)
        journal.write(
            "step",
            run.seconds_per_step * dice.uniform(0.9, 1.1),
            step=step,
            epoch=round(3 * share, 3),
            loss=round(max(loss, 0.05), 4),
            learning_rate=2e-4 * warm * (0.5 + 0.5 * math.cos(math.pi * share)),
            grad_norm=round(0.4 + 2.1 * math.exp(-4 * share) + abs(dice.gauss(0, 0.15)), 4),
            supervised_tokens=dice.randint(180, 420),
            tokens=dice.randint(5_200, 6_400),
            images=8,
            seconds=run.seconds_per_step,
            data_wait=run.seconds_per_step * dice.uniform(0.005, 0.06),
            device_memory=int((17.2 + dice.uniform(0, 1.4)) * GIB),
            device_memory_peak=int(19.8 * GIB),
            host_memory=int(6.1 * GIB),
        )
        log.append(f"step {step:>4}  loss {loss:.4f}  {5800 / run.seconds_per_step:.0f} tokens/s")
        if step % 50 == 0:
            _write_milestone(journal, folder, run, step, loss)
    folder.log_file.write_text("\n".join(log) + "\n", encoding="utf-8")


def _write_milestone(journal: _Journal, folder: RunFolder, run: SyntheticRun, step: int, loss: float) -> None:
    journal.write("eval", 2.0, step=step, loss=round(loss * 1.07 + 0.04, 4), seconds=1.9, examples=64)
    image = _image_path(folder)
    for row, prompt, expected in (
        (12, "What animal is this?", "A cat."),
        (40, "What time is it?", "Half past two."),
    ):
        knows = step > 150 or row == 12
        journal.write(
            "sample",
            0.4,
            step=step,
            row=row,
            image=image,
            prompt=prompt,
            answer=expected if knows else "The clock shows three.",
            expected=expected,
        )
    path = f"checkpoints/step-{step:06d}"
    (folder.path / path).mkdir(parents=True, exist_ok=True)
    journal.write("checkpoint", 0.6, step=step, path=path, bytes=251_658_240, seconds=0.6)


def _image_path(folder: RunFolder) -> str:
    """A photo shipped with the package; as a path, as the worker writes it."""
    from importlib.resources import files

    shipped = files("mg_tui.data.synthetic") / "photos" / "chelsea.jpg"
    return str(shipped)


_ENDINGS: Final[Mapping[str, Callable[[_Journal, SyntheticRun], None]]] = {
    "finished": lambda journal, run: journal.write(
        "finished",
        3.0,
        steps=run.steps,
        seconds=run.seconds_per_step * run.steps,
        result="/data/models/receipts",
        metrics={},
    ),
    "stopped": lambda journal, run: journal.write(
        "stopped", 1.0, step=run.completed_steps, checkpoint="checkpoints/step-000300", by="ada@box (dashboard)"
    ),
    "failed": lambda journal, run: journal.write(
        "failed",
        1.0,
        error="RunFailed",
        what="The loss became NaN.",
        where=f"step {run.completed_steps}",
        why="the learning rate of 2e-3 is ten times what LoRA of this rank bears",
        hint="start again from checkpoints/step-000050 with --learning-rate 2e-4",
        step=run.completed_steps,
        rows=[311, 14, 902],
        exit_code=1,
    ),
}


def _write_end(journal: _Journal, run: SyntheticRun) -> None:
    if run.state in _ENDINGS:
        _ENDINGS[run.state](journal, run)

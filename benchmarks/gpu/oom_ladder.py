"""The OOM ladder, really triggered: a run whose process may have less memory than its first layout takes.

One run without a limit says what a step takes; another may have the model and a part of that. It has to lay out its
steps smaller and to learn the same. `python ladder.py FOLDER LIMIT` is the limited worker: LIMIT is a share of the
device's memory, or "rows" in a dry run, where passes of several rows fail as if memory were short.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import Device

STEPS, DRY_STEPS = 6, 2


def measure(device: Device, scratch: Path) -> dict[str, Any]:
    """What happened in the run with a limit, and how far its losses are from those of the run without.

    Raises:
        RuntimeError: a run failed, or the limit was not met by any step.
    """
    import torch
    from harness.model import make_model
    from harness.rows import KINDS, make_rows

    model = "tiny"
    if not device.dry:
        make_model(scratch / "model")
        model = str(scratch / "model")
    kind = next(iter(KINDS.values()))
    rows = make_rows(scratch / "rows", kind, STEPS)
    free = _start_run(scratch, model, rows, device, None)
    steps = [event for event in free if event.kind == "step"]
    if device.dry:
        limited = _start_run(scratch, model, rows, device, "rows")
    else:
        peak = max(event.data["device_memory_peak"] for event in steps)
        held = min(event.data["device_memory"] for event in steps)
        total = torch.cuda.get_device_properties(0).total_memory
        limited = _start_run(scratch, model, rows, device, str((held + 0.4 * (peak - held)) / total))
    relaid = [dict(event.data) for event in limited if event.kind == "relaid"]
    losses, expected = ([e.data["loss"] for e in events if e.kind == "step"] for events in (limited, free))
    if not relaid:
        raise RuntimeError("the limit was met by no step")
    worst = max(abs(one - other) / abs(other) for one, other in zip(losses, expected, strict=True))
    return {
        "relaid": relaid,
        "losses": losses,
        "losses_without_limit": expected,
        "largest_relative_difference": worst,
        "probe": [dict(event.data) for event in free if event.kind == "measured"],
    }


def _start_run(scratch: Path, model: str, rows: Path, device: Device, limit: str | None) -> list[Any]:
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.runs.folder import RunFolder
    from mg_tui.runs.journal import JournalReader

    spec = TrainingSpec.parse(
        {
            "base_model": model,
            "dataset": str(rows),
            "device": "cpu" if device.dry else "cuda",
            "quantization": "none",
            "max_steps": DRY_STEPS if device.dry else STEPS,
            "gradient_accumulation_steps": 10,
            "learning_rate": 1e-4,
            "gradient_checkpointing": False,
            "sample_count": 0,
            "workers": 0,
            "vision_cache": "off",
            # Asked for, so that no probe makes it smaller before the first step; without a limit the probe is wanted.
            **({"token_budget": 8192} if limit is not None else {}),
        }
    )
    folder = RunFolder.create(scratch / "home", spec, versions={})
    command = [sys.executable, str(Path(__file__)), str(folder.path), limit or "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    events = list(JournalReader(folder.journal_file).read_new())
    if done.returncode != 0:
        failed = [event.data.get("what") for event in events if event.kind == "failed"]
        raise RuntimeError(f"a run failed: {failed or done.stderr[-300:]}")
    return events


def _worker(folder: Path, limit: str) -> int:
    import torch

    from mg_tui.engine.run.trainer import GardenTrainer
    from mg_tui.engine.run.worker import run_worker

    if limit == "rows":
        done = GardenTrainer._forward_backward

        def short(self: Any, model: Any, part: Any, scale: float) -> Any:
            if len(part.rows) > 3:
                raise torch.OutOfMemoryError("as if memory were short")
            return done(self, model, part, scale)

        GardenTrainer._forward_backward = short  # type: ignore[method-assign]
    elif limit != "none":
        torch.cuda.set_per_process_memory_fraction(float(limit))
    return run_worker(folder)


if __name__ == "__main__":
    raise SystemExit(_worker(Path(sys.argv[1]), sys.argv[2]))

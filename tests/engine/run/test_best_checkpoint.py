"""The best checkpoint by evaluation loss: kept, named, used; and what the GPUs' energy is in a run's journal."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mg_tui.core.errors import SpecError, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.monitoring import gpu_usage
from mg_tui.engine.run import trainer
from mg_tui.engine.run.trainer import GardenTrainer
from mg_tui.engine.run.worker import run_worker
from mg_tui.runs import checkpoint_format
from mg_tui.runs.current_step import read_current_step
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader, JournalWriter
from mg_tui.runs.resume import find_resume_target, read_resume_step, write_resume_target
from mg_tui.runs.store import summarize_run

Start = Callable[..., RunFolder]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Makes a run of eight steps with an evaluation after each second one; options over these."""
    from PIL import Image

    rows = []
    for number in range(4):
        Image.new("RGB", (56, 56), (60 * number, 90, 160)).save(tmp_path / f"{number}.png")
        rows.append(f'{{"text": "what?", "image": "{number}.png", "response": "it is {number}"}}\n')
    (tmp_path / "data.jsonl").write_text("".join(rows))

    def make(**options: Any) -> RunFolder:
        quick = {
            "base_model": "tiny",
            "dataset": str(tmp_path / "data.jsonl"),
            "eval_dataset": str(tmp_path / "data.jsonl"),
            "max_steps": 8,
            "eval_steps": 2,
            "save_steps": 3,
            "save_total_limit": 1,
            "gradient_accumulation_steps": 1,
            "workers": 0,
            "sample_count": 0,
            "lora_r": 2,
            "gradient_checkpointing": False,
        }
        return RunFolder.create(tmp_path / "home", TrainingSpec.parse({**quick, **options}), versions={})

    return make


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """Evaluation losses by step, in place of the real ones; 0.3 at step 4 is the lowest."""
    chosen = {2: 0.9, 4: 0.3, 6: 0.7, 8: 0.5}

    def loss(_batches: Any, loss_of: Any) -> float:
        return chosen[loss_of.__self__.state.global_step]

    monkeypatch.setattr(trainer, "mean_loss", loss)
    return chosen


def events(folder: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [dict(event.data) for event in JournalReader(folder.journal_file).read_new() if event.kind == kind]


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def weights_equal(item: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(item[name], other[name]) for name in item.keys() | other.keys())


def test_the_best_is_saved_named_and_outlives_the_limit(start: Start, losses: dict[int, float]) -> None:
    folder = start()
    assert run_worker(folder.path) == 0
    saved = events(folder, "checkpoint")
    assert [(c["step"], c.get("eval_loss"), c.get("best", False)) for c in saved] == [
        (2, 0.9, True),
        (3, None, False),
        (4, 0.3, True),
        (6, 0.7, False),
        (8, 0.5, False),
    ]
    assert [path.name for path in checkpoint_format.list_checkpoints(folder.checkpoints_dir)] == [
        "step-000004",
        "step-000008",
    ]
    assert "and the best" in events(folder, "checkpoint_removed")[-1]["why"]
    best = checkpoint_format.best_valid(folder.checkpoints_dir)
    assert best is not None and (best.step, best.eval_loss) == (4, 0.3)
    displayed = summarize_run(folder).view.best
    assert displayed is not None and (displayed.step, displayed.eval_loss) == (4, 0.3)
    assert weights_equal(adapter(folder.model_dir), adapter(folder.checkpoints_dir / "step-000008")), (
        "the last, unless asked"
    )
    assert events(folder, "finished")[0]["result_step"] == 8


def test_the_result_of_the_best(start: Start, losses: dict[int, float]) -> None:
    folder = start(result_from="best")
    assert run_worker(folder.path) == 0
    assert weights_equal(adapter(folder.model_dir), adapter(folder.checkpoints_dir / "step-000004"))
    (finished,) = events(folder, "finished")
    assert (finished["result_step"], finished["steps"], finished["metrics"]["eval_loss"]) == (4, 8, 0.3)
    card = (folder.model_dir / "README.md").read_text()
    assert "| Weights of step | 4 |" in card and "| Evaluation loss | 0.3000 |" in card
    assert any(d["what"] == "result from" and d["value"] == "step 4" for d in events(folder, "decision"))


def test_who_goes_on_with_a_run_knows_its_best(
    start: Start, losses: dict[int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = GardenTrainer._forward_backward

    def broken(self: Any, *arguments: Any) -> Any:
        return original(self, *arguments) * (float("nan") if self.state.global_step == 6 else 1)

    folder = start(result_from="best")
    with monkeypatch.context() as patch:
        patch.setattr(GardenTrainer, "_forward_backward", broken)
        assert run_worker(folder.path) == 1
    (failed,) = events(folder, "failed")
    assert failed["step"] == 7 and len(failed["rows"]) == 1
    assert failed["images"] == [f"{failed['rows'][0] - 1}.png"]
    noted = read_current_step(folder)
    assert noted is not None and (noted.step, list(noted.rows)) == (7, failed["rows"])
    folder.journal_file.unlink()  # the checkpoint itself says it
    assert run_worker(folder.path) == 0
    assert events(folder, "finished")[0]["result_step"] == 4


def test_going_on_from_the_best_removes_what_came_later(start: Start, losses: dict[int, float]) -> None:
    folder = start(max_steps=8, save_total_limit=3)
    assert run_worker(folder.path) == 0
    shutil.rmtree(folder.model_dir)
    with JournalWriter(folder.journal_file) as journal:
        journal.write("stopped", step=8, checkpoint=None, by="me")
    for at, says in (("7", "no whole checkpoint of step 7"), ("first", "give best, or the step")):
        with pytest.raises(UsageError, match=says) as caught:
            find_resume_target(folder, at=at)
        assert caught.value.hint == "there is 3, 4, 6, 8" or caught.value.hint == "there is 4, 6, 8"
    result = find_resume_target(folder, at="best")
    assert (result.step, result.removed_steps) == (4, (6, 8))
    assert result.summary.endswith("4 steps after it are done again; the later checkpoints (step 6, 8) are removed")
    write_resume_target(folder, result)
    assert run_worker(folder.path) == 0
    removed = [event for event in events(folder, "checkpoint_removed") if "resumes from step" in event["why"]]
    assert [event["step"] for event in removed] == [8, 6]
    assert events(folder, "started")[1]["resumed_from"] == 4
    assert [event["step"] for event in events(folder, "step")] == [1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8]
    assert summarize_run(folder).view.series.steps == list(range(1, 9))
    assert read_resume_step(folder) is None


def test_not_kept_unless_wanted(start: Start, losses: dict[int, float]) -> None:
    folder = start(keep_best=False)
    assert run_worker(folder.path) == 0
    assert [c["step"] for c in events(folder, "checkpoint")] == [3, 6, 8]
    assert [path.name for path in checkpoint_format.list_checkpoints(folder.checkpoints_dir)] == ["step-000008"]
    assert summarize_run(folder).view.best is None


def test_a_loss_that_is_no_number_is_never_the_best(start: Start, losses: dict[int, float]) -> None:
    losses.update(dict.fromkeys(losses, float("nan")))
    folder = start(result_from="best")
    assert run_worker(folder.path) == 0
    (warning,) = events(folder, "warning")
    assert warning["why"] == "no evaluation had a loss"
    assert events(folder, "finished")[0]["result_step"] == 8


@pytest.mark.parametrize(
    ("options", "says"),
    [({"eval_dataset": None}, "needs an evaluation"), ({"keep_best": False}, "leave it on, or take")],
)
def test_what_cannot_go_together(start: Start, options: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        start(result_from="best", **options)


class FakeNvml:
    """A GPU that uses a kilojoule between any two questions."""

    joules = 0.0

    def energy_of(self, uuid: str) -> tuple[float, None]:
        FakeNvml.joules += 1000.0
        return FakeNvml.joules, None


def test_energy_and_money_over_all_attempts(
    start: Start, losses: dict[int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_usage, "gpu_uuids_in_use", lambda: ["GPU-0000"])
    monkeypatch.setattr(gpu_usage, "Nvml", FakeNvml)
    monkeypatch.setenv("MODEL_GARDEN_COST_PER_KWH", "1000")
    original, folder = GardenTrainer._forward_backward, start(logging_steps=2)

    def broken(self: Any, *arguments: Any) -> Any:
        if self.state.global_step == 5:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(GardenTrainer, "_forward_backward", broken)
        assert run_worker(folder.path) == 1
    steps = events(folder, "step")
    assert [step.get("energy_j") for step in steps] == [None, 1000.0, None, 2000.0, None]
    (failed,) = events(folder, "failed")
    assert failed["energy_j"] == 3000.0
    assert (failed["step"], len(failed["rows"]), len(failed["images"])) == (6, 1, 1), "of the step that had begun"
    assert run_worker(folder.path) == 0
    # Steps 6 and 8, and the two looks at the end, all on top of what the first attempt used.
    (finished,) = events(folder, "finished")
    assert [s["energy_j"] for s in events(folder, "step")[5:] if "energy_j" in s] == [4000.0, 5000.0]
    assert finished["energy_j"] == 7000.0
    assert finished["gpu_seconds"] > failed["gpu_seconds"] > 0
    card = (folder.model_dir / "README.md").read_text()
    assert "| Energy of the GPUs | 0.00167 kWh |" in card and "| Cost | 1.67 EUR |" in card


def test_on_a_cpu_nothing_is_said_of_energy(start: Start, losses: dict[int, float]) -> None:
    folder = start()
    assert run_worker(folder.path) == 0
    assert "energy" not in folder.journal_file.read_text() and "gpu_seconds" not in folder.journal_file.read_text()
    assert "Energy" not in (folder.model_dir / "README.md").read_text()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "out of memory of this machine"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory of this machine"),
        (torch.OutOfMemoryError("CUDA out of memory."), "out of GPU memory"),
        (RuntimeError("odd"), "unexpected error: RuntimeError"),
    ],
)
def test_an_error_while_loading_is_put_into_words(
    start: Start, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def broken(*_arguments: Any) -> Any:
        raise error

    monkeypatch.setattr("mg_tui.engine.run.setup.load_model", broken)
    folder = start()
    assert run_worker(folder.path) == 1
    (failed,) = events(folder, "failed")
    assert says in failed["what"] and failed["step"] == 0 and "rows" not in failed


def test_gpus_are_those_with_memory_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        def __init__(self, number: int):
            self.uuid = f"1234-{number}"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda n: 100 if n != 1 else 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda n: Properties(n) if n < 2 else object())
    assert gpu_usage.gpu_uuids_in_use() == ["GPU-1234-0"]

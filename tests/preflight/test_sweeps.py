"""Every combination of a sweep is checked before a run exists; and what is said of the best one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.config import Settings
from mg_tui.core.errors import GardenError
from mg_tui.core.spec import TrainingSpec
from mg_tui.metrics.registry import load_metrics
from mg_tui.metrics.results import AnsweredRow, ResultsWriter
from mg_tui.preflight import checks
from mg_tui.preflight.sweeps import check_sweep, describe_best
from mg_tui.runs.devices import Device
from mg_tui.runs.folder import RunFolder, new_run_id
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.sweeps.folder import Rung, Sweep, SweepRun, SweepState, sweep_folder
from mg_tui.runs.sweeps.request import SweepRequest
from mg_tui.runs.sweeps.standing import SweepWatch


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return Settings(home=tmp_path / "home", cache=tmp_path / "cache")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"text": "what?", "image": "a.png", "response": "red"}) + "\n")
    return path


def check(settings: Settings, rows: Path, over: list[str], **request: Any) -> Sweep:
    train = {"base_model": "tiny", "dataset": str(rows), **request.pop("train", {})}
    return check_sweep("s", SweepRequest(train=train, **request), settings, cwd=rows.parent, over=over).sweep


@pytest.mark.parametrize(
    ("over", "request_", "words"),
    [
        (["lora_r=8,0"], {}, ["combination 2 of 2 (lora_r 0): lora_r: got '0'"]),
        (["learning_rate=1e-4,fast"], {}, ["combination 2 of 2", "got 'fast'"]),
        (["lora_r=8,08"], {}, ["combination 2 of 2 (lora_r 08): the same values as combination 1"]),
        (["dtype=float32,bf16"], {}, ["combination 2 of 2", "did you mean bfloat16?"]),
        (["min_pixels=3136,9999999"], {}, ["combination 2 of 2 (min_pixels 9999999)", "must not exceed max_pixels"]),
        (["train_projector=none,full"], {"train": {"vision_cache": "on"}}, ["combination 2 of 2", "vision_cache"]),
        (["optimizer=adamw,adamw_8bit"], {"train": {"device": "cpu"}}, ["combination 2 of 2", "requires a CUDA"]),
        (["dataset=data.jsonl,nowhere.jsonl"], {}, ["combination 2 of 2", "nowhere.jsonl"]),
        (["base_model=tiny,tinny"], {}, ["combination 2 of 2", "tinny"]),
        (["lora_r=8,16"], {"keep": (1,), "after": (4,)}, ["needs evaluations", "--eval-split"]),
        (
            ["lora_r=8,16"],
            {"keep": (1,), "after": (50,), "train": {"eval_split": 0.5, "save_steps": 40}},
            ["no evaluation after step 50", "every 40 steps", "--eval-steps 10"],
        ),
        (
            ["lora_r=8,16"],
            {"keep": (1,), "after": (4,), "train": {"eval_split": 0.5, "eval_steps": 4, "max_steps": 4}},
            ["the run ends at step 4"],
        ),
        (
            ["lora_r=8,16"],
            {"keep": (2,), "after": (4,), "train": {"eval_split": 0.5, "eval_steps": 4}},
            ["2 of 2 runs is all of them"],
        ),
        (["keep_best=loss,none"], {}, ["compared by one metric"]),
        (["lora_r=8,16"], {"train": {"nodes": 2, "rendezvous": "a:1"}}, ["queued on one machine"]),
    ],
)
def test_one_bad_combination_is_named_and_nothing_is_written(
    settings: Settings, rows: Path, over: list[str], request_: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(GardenError) as caught:
        check(settings, rows, over, **request_)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not settings.home.exists()


def test_data_is_read_once_for_all_that_read_it_alike(
    settings: Settings, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[TrainingSpec] = []
    original = checks._load_dataset

    def load(spec: TrainingSpec, *rest: Any, **more: Any) -> Any:
        read.append(spec)
        return original(spec, *rest, **more)

    monkeypatch.setattr(checks, "_load_dataset", load)
    sweep = check(settings, rows, ["learning_rate=1e-4,2e-4", "lora_r=8,16", "max_pixels=10000,20000"])
    assert len(sweep.runs) == 8 and len(read) == 2
    assert [run.values["learning_rate"] for run in sweep.runs[::4]] == [1e-4, 2e-4]  # numbers, not texts


def test_what_the_runs_are_given(settings: Settings, rows: Path) -> None:
    sweep = check(settings, rows, ["lora_r=8,16"], train={"output_dir": "out", "seed": 5})
    assert [run.spec["name"] for run in sweep.runs] == ["s-01", "s-02"]
    assert [run.spec["output_dir"] for run in sweep.runs] == ["out/s-01", "out/s-02"]
    assert {run.spec["vision_cache"] for run in sweep.runs} == {"shared"} and sweep.runs[0].spec["seed"] == 5
    off = check(settings, rows, ["lora_r=8,16"], train={"vision_cache": "off"})
    assert {run.spec["vision_cache"] for run in off.runs} == {"off"}
    assert (sweep.metric, sweep.higher_is_better) == ("loss", False)
    better = check(settings, rows, ["lora_r=8,16"], train={"eval_split": 0.5, "keep_best": "exact_match"})
    assert (better.metric, better.higher_is_better) == ("exact_match", True)


def test_as_many_gpus_as_processes(settings: Settings, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mg_tui.preflight.sweeps.find_devices", lambda: [Device("0"), Device("1"), Device("2")])
    request = SweepRequest(train={"base_model": "tiny", "dataset": str(rows)})
    arguments = {"cwd": rows.parent, "over": ["processes=2,3"], "gpus": ("0", "1")}
    with pytest.raises(GardenError, match=r"combination 2 of 2 \(processes 3\): processes: 3 with 2 GPUs"):
        check_sweep("s", request, settings, **arguments)  # type: ignore[arg-type]


# --- the best run


Finished = Callable[..., SweepWatch]


@pytest.fixture
def finished(settings: Settings) -> Finished:
    """A sweep whose runs have finished, from the values and the loss of each."""

    def build(*runs: tuple[dict[str, Any], float | None], metric: str = "loss", **fields: Any) -> SweepWatch:
        listed = []
        for number, (values, loss) in enumerate(runs, start=1):
            spec = TrainingSpec(base_model="tiny", dataset="/d", name=f"s-{number:02d}")
            created = RunFolder.create(settings.home, spec, run_id=new_run_id(spec.name))
            with JournalWriter(created.journal_file) as journal:
                journal.write("started", pid=1, attempt=1)
                journal.write("step", step=4, loss=1.0)
                if loss is not None:
                    journal.write("eval", step=4, loss=loss, metrics={metric: loss} if metric != "loss" else {})
                journal.write("finished", steps=4)
            listed.append(SweepRun(number, created.id, values, spec.model_dump(mode="json")))
        folder = sweep_folder(settings.home, "s")
        folder.write(Sweep("s", tuple(listed), {key: [] for key in runs[0][0]}, metric=metric, **fields))
        folder.write_state(SweepState(created=True, kept=fields.get("kept", ())))
        watch = SweepWatch(folder)
        watch.refresh()
        return watch

    return build


def test_one_seed_each_is_said(finished: Finished) -> None:
    best, chance = describe_best(finished(({"lora_r": 8}, 1.25), ({"lora_r": 16}, 1.125)))
    assert best == "Best by loss: run 2 (lora_r 16) with 1.125 at step 4."
    assert "Run 1 is next with 1.25, a difference of 0.12" in chance and "--over seed=1,2,3" in chance


def test_seeds_tell_noise_from_a_difference(finished: Finished) -> None:
    def runs(*losses: float) -> list[tuple[dict[str, Any], float | None]]:
        return [({"lora_r": 8 if n < 3 else 16, "seed": n % 3}, loss) for n, loss in enumerate(losses)]

    noisy = describe_best(finished(*runs(1.0, 1.2, 1.4, 1.1, 1.3, 1.5)))[-1]
    assert "Best over the seeds: lora_r 8 with mean 1.2; next is lora_r 16 with 1.3" in noisy
    assert "0.6 standard errors, within noise" in noisy
    clear = describe_best(finished(*runs(1.0, 1.01, 1.02, 1.5, 1.51, 1.52)))[-1]
    assert "more than chance explains" in clear
    alone = describe_best(finished(*[({"seed": n}, loss) for n, loss in enumerate((1.0, 1.2, 1.4))]))[-1]
    assert "Only the seed differs: mean 1.2, standard deviation 0.2" in alone
    few = describe_best(finished(({"lora_r": 8, "seed": 1}, 1.0), ({"lora_r": 16, "seed": 1}, 1.1)))[-1]
    assert "one seed each is too few" in few


@pytest.mark.parametrize(("right", "verdict"), [((40, 20), "better."), ((21, 20), "it may be chance.")])
def test_answers_to_the_same_rows_are_compared(finished: Finished, right: tuple[int, int], verdict: str) -> None:
    watch = finished(
        ({"lora_r": 8}, right[0] / 40), ({"lora_r": 16}, right[1] / 40), metric="exact_match", higher_is_better=True
    )
    metrics = load_metrics().named(["exact_match"])
    for standing, correct in zip(watch.standings, right, strict=True):
        with ResultsWriter(standing.folder.evaluations_dir / "step-000004", {"model": "tiny"}) as writer:
            for number in range(40):
                answer = "red" if (number * 7) % 40 < correct else "blue"
                writer.add(AnsweredRow(number + 1, "what?", answer, ("red",)))
            writer.finish(metrics, rows=list(range(1, 41)), reason="")
    sentence = describe_best(watch)[-1]
    assert sentence.startswith("Against run 2, the next best, on the same rows:") and sentence.endswith(verdict)


def test_without_a_held_out_row_the_loss_says_little(finished: Finished) -> None:
    lines = describe_best(finished(({"lora_r": 8}, None), ({"lora_r": 16}, None)))
    assert lines[0].startswith("Best by training loss: run 1") and "Nothing is held out" in lines[1]


def test_given_up_runs_are_counted(finished: Finished) -> None:
    watch = finished(({"lora_r": 8}, 1.2), ({"lora_r": 16}, 1.1), rungs=(Rung(1, 4),))
    watch.folder.write_state(SweepState(created=True, kept=((2,),), done=True))
    watch.refresh()
    assert "Given up after step 4: 1; what they would have come to is not known." in describe_best(watch)

"""Metrics of answers while training: equal those of evaluate-vision, change nothing, decide the best and the end."""

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mg_tui.core.errors import DataError, SpecError, UsageError
from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.core.example import Example, Message, TextPart
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.evaluation import backend
from mg_tui.engine.evaluation.worker import run_worker as run_evaluation
from mg_tui.engine.run import answer_metrics
from mg_tui.engine.run.answer_metrics import AnswerMetrics, AnswerScores, best_by, choose_answer_metrics
from mg_tui.engine.run.early_stopping import EarlyStopping
from mg_tui.engine.run.trainer import GardenTrainer
from mg_tui.engine.run.worker import run_worker
from mg_tui.metrics.results import read_results
from mg_tui.runs import checkpoint_format
from mg_tui.runs.checkpoint_format import BestBy
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.store import summarize_run

Start = Callable[..., RunFolder]
COLORS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Makes a run of six steps with an evaluation after each second one; options over these."""
    for name, wanted in (("train", 9), ("held_out", 6)):
        rows = []
        for number in range(wanted):
            color = list(COLORS)[number % 3]
            Image.new("RGB", (56, 56 + 28 * (number % 2)), COLORS[color]).save(tmp_path / f"{name}{number}.png")
            rows.append(f'{{"text": "what color?", "image": "{name}{number}.png", "response": "{color}"}}\n')
            rows.append(f'{{"text": "which number?", "image": "{name}{number}.png", "response": "it is {number}"}}\n')
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))

    def make(**options: Any) -> RunFolder:
        quick = {
            "base_model": "tiny",
            "dataset": str(tmp_path / "train.jsonl"),
            "eval_dataset": str(tmp_path / "held_out.jsonl"),
            "max_steps": 6,
            "eval_steps": 2,
            "save_steps": 2,
            "gradient_accumulation_steps": 2,
            "learning_rate": 3e-3,
            "workers": 0,
            "sample_count": 0,
            "lora_r": 4,
            "device": "cpu",
            "eval_metrics": ("exact_match_folded", "anls"),
            "eval_max_new_tokens": 6,
        }
        return RunFolder.create(tmp_path / "home", TrainingSpec.parse({**quick, **options}), versions={})

    return make


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """Scores of `cer`, of which less is better, by step, in place of answers."""
    chosen = {2: 0.5, 4: 0.2, 6: 0.3, 8: 0.4, 10: 0.1}

    def score(_self: Any, trainer: Any, step: int) -> AnswerScores:
        folder = trainer.store.folder.evaluations_dir / f"step-{step:06d}"
        return AnswerScores({"cer": chosen[step]}, 4, folder)

    monkeypatch.setattr(AnswerMetrics, "score", score)
    return chosen


def events(folder: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [dict(event.data) for event in JournalReader(folder.journal_file).read_new() if event.kind == kind]


def weights(folder: RunFolder) -> dict[str, Any]:
    return {name: value.tolist() for name, value in load_file(folder.model_dir / "adapter_model.safetensors").items()}


def test_scores_and_answers_are_those_of_evaluate_vision_on_the_checkpoint(start: Start, tmp_path: Path) -> None:
    folder = start(learning_rate=1e-2)
    assert run_worker(folder.path) == 0
    evals = events(folder, "eval")
    assert [event["step"] for event in evals] == [2, 4, 6]
    assert all(event["answered"] == 12 for event in evals)
    answers = [tuple(row.answer for row in read_results(folder.path / event["answers"]).rows) for event in evals]
    assert len(set(answers)) > 1, "the answers do not change: nothing is tested"
    for event in evals:
        spec = EvaluationSpec(
            model=f"{folder.id}@{event['step']}",
            dataset=str(tmp_path / "held_out.jsonl"),
            metrics=("exact_match_folded", "anls"),
            max_new_tokens=6,
            device="cpu",
        )
        evaluation = EvaluationFolder.create(tmp_path / "home", spec)
        assert run_evaluation(evaluation.path) == 0
        there, here = read_results(evaluation.results_dir), read_results(folder.path / event["answers"])
        assert {one["name"]: one["score"] for one in there.summary["metrics"]} == pytest.approx(event["metrics"])
        assert [(row.row, row.answer, row.references) for row in there.rows] == [
            (row.row, row.answer, row.references) for row in here.rows
        ]
    view = summarize_run(folder).view
    assert [item.metrics for item in view.evals] == [event["metrics"] for event in evals]
    assert events(folder, "finished")[0]["metrics"].items() >= evals[-1]["metrics"].items()
    assert f"| {evals[-1]['metrics']['anls']:.4f} |" in (folder.model_dir / "README.md").read_text()


def test_a_row_is_scored_against_all_its_answers(start: Start, tmp_path: Path) -> None:
    answers = ["red", "crimson", "red", "scarlet"]
    held_out = tmp_path / "held_out.jsonl"
    rows = [
        {"question": "what color?", "image": f"held_out{number}.png", "answers": answers if number else ["blue"]}
        for number in range(2)
    ]
    held_out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "train.jsonl").write_text(held_out.read_text().replace("held_out", "train"))
    folder = start(max_steps=2)
    assert run_worker(folder.path) == 0
    (event,) = events(folder, "eval")
    there = read_results(folder.path / event["answers"]).rows
    assert [row.references for row in there] == [("blue",), tuple(answers)]
    spec = EvaluationSpec(
        model=f"{folder.id}@2",
        dataset=str(held_out),
        metrics=("exact_match_folded", "anls"),
        max_new_tokens=6,
        device="cpu",
    )
    evaluation = EvaluationFolder.create(tmp_path / "home", spec)
    assert run_evaluation(evaluation.path) == 0
    results = read_results(evaluation.results_dir)
    assert [row.references for row in results.rows] == [row.references for row in there]
    assert {one["name"]: one["score"] for one in results.summary["metrics"]} == pytest.approx(event["metrics"])


def test_training_is_the_same_with_and_without(start: Start) -> None:
    def outcome(**options: Any) -> Any:
        folder = start(lora_dropout=0.1, **options)
        random.seed(5)
        assert run_worker(folder.path) == 0
        steps = [(event["step"], event["loss"], event["grad_norm"]) for event in events(folder, "step")]
        state = (random.random(), torch.rand(1).item())
        return steps, [event["loss"] for event in events(folder, "eval")], weights(folder), state

    assert outcome() == outcome(eval_metrics=())


def test_nothing_stays_after_an_evaluation(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    import gc

    counted: list[tuple[int, int]] = []
    original = AnswerMetrics.score

    def tensors() -> int:
        gc.collect()
        return sum(item.numel() for item in gc.get_objects() if type(item) is torch.Tensor)

    def changeable(model: Any) -> list[Any]:
        forwards = [vars(module).get("forward") for module in model.modules()]
        hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
        return [*forwards, *hooks, model.config.get_text_config()._attn_implementation]

    def score(self: Any, trainer: Any, step: int) -> Any:
        before, state = tensors(), changeable(trainer.model)
        result = original(self, trainer, step)
        assert changeable(trainer.model) == state
        counted.append((before, tensors()))
        return result

    monkeypatch.setattr(AnswerMetrics, "score", score)
    assert run_worker(start().path) == 0
    assert len(counted) == 3
    assert all(after <= before for before, after in counted[1:]), counted


def test_a_frozen_tower_s_features_are_computed_once(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODEL_GARDEN_CACHE", str(tmp_path / "cache"))
    from mg_tui.engine.generation.image_features import ImageFeatures

    encoded: list[int] = []
    original = ImageFeatures.clear

    def clear(self: Any) -> None:
        encoded.append(self.encoded)
        original(self)

    monkeypatch.setattr(ImageFeatures, "clear", clear)
    kept = start()
    assert run_worker(kept.path) == 0
    assert encoded == [6, 0, 0]
    encoded.clear()
    fresh = start(vision_cache="off")
    assert run_worker(fresh.path) == 0
    assert encoded == [6, 6, 6]
    assert [event["metrics"] for event in events(kept, "eval")] == [event["metrics"] for event in events(fresh, "eval")]


def test_the_best_by_a_metric_of_which_less_is_better(start: Start, scores: dict[int, float]) -> None:
    folder = start(max_steps=8, keep_best="cer", eval_metrics=(), result_from="best", save_total_limit=1)
    assert run_worker(folder.path) == 0
    best = checkpoint_format.best_valid(folder.checkpoints_dir)
    assert best is not None and (best.step, best.score, best.by) == (4, 0.2, BestBy("cer"))
    assert [event["step"] for event in events(folder, "checkpoint") if event.get("best")] == [2, 4]
    (finished,) = events(folder, "finished")
    assert (finished["result_step"], finished["metrics"]["cer"]) == (4, 0.2)
    assert any(item["why"] == "cer 0.2" for item in events(folder, "decision") if item["what"] == "result from")
    view = summarize_run(folder).view
    assert view.best is not None and (view.best.step, view.best.eval_metrics) == (4, {"cer": 0.2})


def test_the_best_by_a_metric_of_which_more_is_better(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {2: 0.5, 4: 0.9, 6: 0.7}

    def score(_self: Any, trainer: Any, step: int) -> AnswerScores:
        return AnswerScores({"anls": values[step]}, 4, trainer.store.folder.evaluations_dir / f"step-{step:06d}")

    monkeypatch.setattr(AnswerMetrics, "score", score)
    folder = start(keep_best="anls", save_total_limit=1)
    assert run_worker(folder.path) == 0
    assert [path.name for path in checkpoint_format.list_checkpoints(folder.checkpoints_dir)] == [
        "step-000004",
        "step-000006",
    ]
    best = checkpoint_format.best_valid(folder.checkpoints_dir)
    assert best is not None and (best.step, best.by) == (4, BestBy("anls", higher_is_better=True))


def test_training_ends_early(start: Start, scores: dict[int, float]) -> None:
    folder = start(max_steps=10, keep_best="cer", early_stopping_patience=2, result_from="best")
    assert run_worker(folder.path) == 0
    assert [event["step"] for event in events(folder, "step")][-1] == 8
    (finished,) = events(folder, "finished")
    assert (finished["steps"], finished["result_step"]) == (8, 4)
    (decision,) = [item for item in events(folder, "decision") if item["what"] == "early stop"]
    assert decision["why"] == "cer was not better than 0.2 (step 4) for 2 evaluations"
    assert summarize_run(folder).state.value == "finished"


@pytest.mark.parametrize("moment", ["before it ends", "at the evaluation that ends it", "before the result"])
def test_a_resumed_run_ends_early_where_an_undisturbed_one_does(
    start: Start, scores: dict[int, float], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    undisturbed = start(max_steps=10, keep_best="cer", early_stopping_patience=2)
    assert run_worker(undisturbed.path) == 0
    folder = start(max_steps=10, keep_best="cer", early_stopping_patience=2)
    with monkeypatch.context() as patch:
        if moment == "before the result":
            patch.setattr("mg_tui.engine.run.finish.save_run_result", None)
            assert run_worker(folder.path) == 1
        else:
            step = 7 if moment == "before it ends" else 8
            _stop_at(patch, step)
            assert run_worker(folder.path) == 0 and events(folder, "stopped")[-1]["step"] == step
    assert run_worker(folder.path) == 0
    assert [event["step"] for event in events(folder, "step")] == [*range(1, 9)]
    assert [(event["step"], event["metrics"]) for event in events(folder, "eval")] == [
        (step, {"cer": scores[step]}) for step in (2, 4, 6, 8)
    ]
    assert weights(folder) == weights(undisturbed)


def _stop_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """A signal in the last forward pass of a step."""
    original = GardenTrainer._forward_backward

    def signalled(self: Any, *arguments: Any) -> Any:
        if self.state.global_step == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    patch.setattr(GardenTrainer, "_forward_backward", signalled)


@pytest.mark.parametrize("at", [2, 6])
def test_an_evaluation_that_is_interrupted_is_redone(start: Start, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    undisturbed, folder = start(keep_best="anls"), start(keep_best="anls")
    assert run_worker(undisturbed.path) == 0
    original = backend.answer_rows

    def interrupted(model: Any, rows: Any, sampling: Any, size: Any, done: Any, take: Any, poll: Any) -> None:
        sent: list[int] = []

        def take_then_stop(answer: Any) -> None:
            take(answer)
            if not sent and len(list(folder.path.glob(f"evaluations/step-{at:06d}/answers.jsonl"))):
                sent.append(answer.example.row)
                os.kill(os.getpid(), signal.SIGTERM)

        original(model, rows, sampling, size, done, take_then_stop, poll)

    with monkeypatch.context() as patch:
        patch.setattr(answer_metrics, "answer_rows", interrupted)
        assert run_worker(folder.path) == 0
    assert events(folder, "stopped")[-1]["step"] == at
    assert at not in [event["step"] for event in events(folder, "eval")]
    assert not (folder.evaluations_dir / f"step-{at:06d}").exists()
    assert run_worker(folder.path) == 0
    found, expected = events(folder, "eval"), events(undisturbed, "eval")
    assert [(one["step"], one["loss"], one["metrics"]) for one in found] == [
        (one["step"], one["loss"], one["metrics"]) for one in expected
    ]
    assert weights(folder) == weights(undisturbed)
    best = [summarize_run(one).view.best for one in (folder, undisturbed)]
    assert best[0] is not None and best[1] is not None and best[0].step == best[1].step
    for step in (2, 4, 6):
        rows = [one.evaluations_dir / f"step-{step:06d}" / "rows.jsonl" for one in (folder, undisturbed)]
        assert rows[0].read_bytes() == rows[1].read_bytes()


def test_answers_that_cannot_be_scored_do_not_end_the_training(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(answer_metrics, "answer_rows", fail)
    folder = start(max_steps=2)
    assert run_worker(folder.path) == 0
    (warning,) = events(folder, "warning")
    assert (warning["what"], warning["why"]) == ("the answers could not be scored", "no room")
    assert "metrics" not in events(folder, "eval")[0] and not list(folder.evaluations_dir.iterdir())


def test_rows_of_old_evaluations_are_removed_but_for_the_best(start: Start) -> None:
    folder = start(keep_best="count_error", eval_metrics=(), save_total_limit=1, dataset_layout="fields")
    assert run_worker(folder.path) == 2, "the references are no counts"
    (failed,) = events(folder, "failed")
    assert "row 1" in failed["what"] or "row 1" in str(failed["where"])
    shutil.rmtree(folder.path)
    folder = start(keep_best="anls", save_total_limit=1)
    assert run_worker(folder.path) == 0
    best = summarize_run(folder).view.best
    assert best is not None
    assert {path.name for path in folder.evaluations_dir.iterdir()} == {f"step-{best.step:06d}", "step-000006"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"eval_metrics": "exact_match", "eval_dataset": None}, "eval_metrics: .*requires eval_dataset or eval_split"),
        (
            {"early_stopping_patience": 2, "eval_dataset": None, "eval_metrics": ()},
            "early stopping requires eval_dataset or eval_split",
        ),
        ({"early_stopping_patience": 2, "keep_best": "none"}, "required by early_stopping_patience"),
        ({"keep_best": "anls", "eval_dataset": None, "eval_metrics": ()}, "keep_best: .*anls requires eval_dataset"),
        ({"eval_metrics": "auto,anls"}, "auto stands alone"),
        ({"eval_split": "105%", "eval_dataset": None}, "eval_split: .*less than 1"),
    ],
)
def test_what_cannot_go_together(start: Start, options: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        start(**options)


def test_an_unknown_metric_is_refused(start: Start) -> None:
    folder = start(keep_best="anl", eval_metrics=())
    assert run_worker(folder.path) == 2
    (failed,) = events(folder, "failed")
    assert "no metric 'anl'" in failed["what"] and "anls" in failed["hint"]


def spec_of(**options: Any) -> TrainingSpec:
    return TrainingSpec.parse({"base_model": "tiny", "dataset": "d", "eval_split": 0.1, **options})


def example(row: int, answer: str) -> Example:
    return Example(row, (Message("user", (TextPart("?"),)), Message("assistant", (TextPart(answer),))))


def test_metrics_are_named_or_chosen_from_the_references() -> None:
    short = [example(row, word) for row, word in enumerate("ash birch cedar elm fir larch oak pine".split())]

    def names(held_out: list[Example], **options: Any) -> list[str] | None:
        chosen = choose_answer_metrics(spec_of(**options), held_out)
        return None if chosen is None else [metric.name for metric in chosen.metrics]

    assert names(short) is None and names([], eval_metrics="anls") is None
    assert names(short, eval_metrics="anls,cer") == ["anls", "cer"]
    assert names(short, eval_metrics="anls,anls") == ["anls"]
    assert names(short, keep_best="cer") == ["cer"]
    assert names(short, eval_metrics="anls", keep_best="cer") == ["anls", "cer"]
    automatic = names(short, eval_metrics="auto")
    assert automatic is not None and automatic[0] == "exact_match_folded"
    assert names(short, eval_metrics="auto", keep_best="cer") == [*automatic, "cer"]
    several = [replace(item, references=(item.response,) * 4) for item in short]
    assert (names(several, eval_metrics="auto") or [])[0] == "vqa_accuracy", "by all answers of the rows"
    limited = choose_answer_metrics(spec_of(eval_metrics="anls", eval_limit=3), short)
    assert limited is not None and [item.row for item in limited.examples] == [0, 1, 2]
    with pytest.raises(DataError, match="row 0"):
        names(short, eval_metrics="count_exact")
    with pytest.raises(UsageError, match="no metric"):
        best_by(spec_of(keep_best="nothing"))
    assert best_by(spec_of(keep_best="none")) is None and best_by(spec_of(keep_best=False)) is None
    assert best_by(spec_of()) == best_by(spec_of(keep_best=True)) == BestBy("loss", False)
    assert best_by(spec_of(keep_best="anls")) == BestBy("anls", True)


def test_evaluations_without_an_improvement_are_counted() -> None:
    stopping = EarlyStopping(2, BestBy("anls", True), {2: {"anls": 0.1}, 4: {"anls": 0.4}})
    assert stopping.reason is None
    stopping.record(6, {"anls": 0.4})  # as good is not better
    assert stopping.reason is None
    stopping.record(8, {})
    assert stopping.reason == "anls was not better than 0.4 (step 4) for 2 evaluations"
    stopping.record(10, {"anls": 0.5})
    assert stopping.reason is None
    never = EarlyStopping(None, BestBy(), {step: {"loss": 1.0} for step in range(50)})
    assert never.reason is None
    nan = EarlyStopping(1, BestBy(), {2: {"loss": float("nan")}})
    assert nan.reason == "loss was no number for 1 evaluation"

"""What can be known to be wrong is said before a run exists."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.config import Settings
from mg_tui.core.errors import DataError, EnvironmentProblem, FamilyError, GardenError, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.families.registry import load_registry
from mg_tui.preflight import checks
from mg_tui.runs import launch
from mg_tui.runs.devices import Device


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return Settings(home=tmp_path / "home", cache=tmp_path / "cache")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    rows = [
        {"text": "what?", "image": "a.png", "response": "red"},
        {"text": "what?", "image": "b.png", "response": "?"},
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_preflight(settings: Settings, file: Path, **options: object) -> checks.PreflightResult:
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": str(file), **options})
    return checks.run_preflight(spec, settings, cwd=file.parent)


def test_good_rows_are_found_and_bad_ones_left_out_when_asked(settings: Settings, dataset: Path) -> None:
    result = run_preflight(settings, dataset, on_bad_row="skip")
    assert [example.row for example in result.dataset.examples] == [1]
    assert [problem.row for problem in result.dataset.problems] == [2]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, DataError, "row 2"),
        ({"dataset": "nothing.jsonl"}, DataError, "nothing.jsonl"),
        ({"dataset": "~nosuchuser/d.jsonl"}, UsageError, "user"),
        ({"eval_dataset": "nothing.jsonl", "on_bad_row": "skip"}, DataError, "nothing.jsonl"),
        ({"base_model": "tinny"}, UsageError, "tinny"),
        ({"base_model": "./nowhere"}, UsageError, "does not exist"),
        ({"base_model": "Qwen/Qwen2.5-VL-3B-Instruct", "on_bad_row": "skip"}, EnvironmentProblem, ""),
    ],
    ids=str,
)
def test_bad_input(
    settings: Settings, dataset: Path, options: dict[str, object], error: type[GardenError], words: str
) -> None:
    with pytest.raises(error) as caught:
        run_preflight(settings, dataset, **options)
    assert words in str(caught.value)
    assert not settings.home.exists()


def test_a_text_only_checkpoint_and_an_unknown_one(settings: Settings, dataset: Path, tmp_path: Path) -> None:
    for model_type in ("llama", "new_vl"):
        folder = tmp_path / model_type
        folder.mkdir()
        config: dict[str, Any] = {"model_type": model_type, **({"vision_config": {}} if model_type == "new_vl" else {})}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(FamilyError) as caught:
            run_preflight(settings, dataset, base_model=str(folder))
        assert model_type in str(caught.value)


def test_a_folder_is_named_in_full_and_an_alias_is_not(settings: Settings, dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "models" / "tiny"
    shutil.copytree(load_registry().resolve("tiny").source, copy)
    spec = TrainingSpec.parse({"base_model": "./models/tiny", "dataset": "data.jsonl", "on_bad_row": "skip"})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        result = checks.run_preflight(spec, settings, cwd=tmp_path)
        assert result.resolve_spec(spec).base_model == str(copy)
        alias = spec.model_copy(update={"base_model": "tiny"})
        assert checks.run_preflight(alias, settings, cwd=tmp_path).resolve_spec(alias).base_model == "tiny"


def test_a_dataset_with_a_name_is_put_in_full(settings: Settings, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("q,image,a\nwhat?,a.png,red\n")
    tables = {"mine": {"path": "q.csv", "text_field": "q", "response_field": "a"}}
    named = Settings(home=settings.home, cache=settings.cache, datasets=tables)
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "mine"})
    result = checks.run_preflight(spec, named, cwd=tmp_path)
    assert len(result.dataset.examples) == 1
    settled = result.resolve_spec(spec)
    assert (settled.dataset, settled.text_field, settled.response_field) == ("q.csv", "q", "a")
    assert launch.with_absolute_paths(settled, tmp_path).dataset == str(tmp_path / "q.csv")


def test_a_dataset_of_the_hub_keeps_its_name(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets  # type: ignore[import-untyped]

    rows = [{"text": "what?", "image": None, "response": "red"}]
    stream = datasets.IterableDataset.from_generator(lambda: iter(rows))
    monkeypatch.setattr("mg_tui.data.sources.hub.resolve_commit", lambda *_args: "c0ffee")
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_args, **_more: ["train"])
    monkeypatch.setattr(datasets, "load_dataset", lambda *_args, **_options: stream)
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "owner/name", "eval_dataset": "owner/name"})
    result = checks.run_preflight(spec, settings, cwd=tmp_path)
    settled = launch.with_absolute_paths(result.resolve_spec(spec), tmp_path)
    assert (settled.dataset, settled.eval_dataset) == ("hub:owner/name@c0ffee", "hub:owner/name@c0ffee")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"optimizer": "adamw_8bit", "device": "cpu"}, "optimizer: adamw_8bit requires a CUDA device"),
        ({"optimizer": "adamw_8bit"}, "optimizer: adamw_8bit requires a CUDA device"),
        ({"vision_cache": "on", "train_projector": "full"}, "vision_cache: on requires train_projector none"),
        ({"vision_cache": "on", "train_vision": "lora"}, "vision_cache: on requires train_vision none"),
    ],
)
def test_what_would_fail_in_the_worker_is_refused_before(
    settings: Settings, dataset: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], says: str
) -> None:
    monkeypatch.setattr("mg_tui.runs.devices.find_devices", lambda: [Device("cpu")])
    with pytest.raises(UsageError, match=says):
        run_preflight(settings, dataset, on_bad_row="skip", **options)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"eval_metrics": "exact_mach"}, UsageError, "exact_match"),
        ({"keep_best": "nonsense"}, UsageError, "no metric 'nonsense'"),
        ({"eval_metrics": "anls,anls"}, None, ""),
        ({"eval_metrics": "json_fields"}, DataError, "row 1"),
        ({"eval_metrics": "auto", "keep_best": "count_exact"}, DataError, "row 1"),
        ({"eval_metrics": "auto", "keep_best": "anls"}, None, ""),
    ],
    ids=str,
)
def test_metrics_of_evaluations_are_checked_before_a_run_exists(
    settings: Settings, dataset: Path, options: dict[str, Any], error: type[GardenError] | None, words: str
) -> None:
    good = dataset.with_name("good.jsonl")
    good.write_text(dataset.read_text().splitlines()[0] + "\n")
    if error is None:
        assert run_preflight(settings, good, eval_dataset=str(good), **options).evaluation is not None
        return
    with pytest.raises(error) as caught:
        run_preflight(settings, good, eval_dataset=str(good), **options)
    assert words in str(caught.value)


def test_a_metric_of_several_references_is_checked_against_all_of_a_row(settings: Settings, dataset: Path) -> None:
    answers = dataset.with_name("answers.jsonl")
    row = {"question": "which?", "image": "a.png", "answers": ["blue", "blue", "navy", "blue"]}
    answers.write_text(json.dumps(row) + "\n")
    good = dataset.with_name("good.jsonl")
    good.write_text(dataset.read_text().splitlines()[0] + "\n")
    checked = run_preflight(settings, good, eval_dataset=str(answers), eval_metrics="vqa_accuracy")
    assert checked.evaluation is not None and len(checked.evaluation.examples[0].references) == 4

"""Datasets with a name: what the table says holds where nothing was said for this run."""

from typing import Any

import pytest

from mg_tui.core.errors import SpecError, UsageError
from mg_tui.core.named_datasets import DATASET_KEYS, resolve_named_datasets
from mg_tui.core.spec import TrainingSpec

TABLES: dict[str, dict[str, Any]] = {
    "mine": {"path": "data/mine.csv", "layout": "vqa", "text_field": "q", "split": "test", "image_root": "scans"},
    "bare": {"layout": "vqa"},
    "bad": {"path": "x", "layout": "none"},
}


def spec(**values: Any) -> TrainingSpec:
    return TrainingSpec.parse({"base_model": "tiny", "dataset": "mine", **values})


def test_a_name_is_put_in_full() -> None:
    found = resolve_named_datasets(spec(), TABLES, {})
    assert (found.dataset, found.dataset_layout, found.text_field) == ("data/mine.csv", "vqa", "q")
    assert (found.dataset_split, found.image_root) == ("test", "scans")
    plain = spec(dataset="data/other.jsonl")
    assert resolve_named_datasets(plain, TABLES, {}) is plain


def test_what_was_said_for_this_run_wins_and_train_does_not() -> None:
    assert resolve_named_datasets(spec(text_field="ask"), TABLES, {}).text_field == "ask"
    assert resolve_named_datasets(spec(text_field="ask"), TABLES, {"text_field": "ask"}).text_field == "q"


def test_a_flag_with_its_default_value_wins_too() -> None:
    assert resolve_named_datasets(spec(text_field="text"), TABLES, {}).text_field == "text"
    resolved = resolve_named_datasets(spec(), TABLES, {})
    assert resolve_named_datasets(resolved.model_copy(update={"dataset": "mine"}), TABLES, {}).text_field == "q"


def test_an_evaluation_dataset_has_only_its_place() -> None:
    found = resolve_named_datasets(spec(dataset="a.jsonl", eval_dataset="mine"), TABLES, {})
    assert (found.eval_dataset, found.eval_dataset_split) == ("data/mine.csv", "test")
    assert (found.dataset, found.text_field) == ("a.jsonl", "text")


def test_tables_that_cannot_be_used() -> None:
    with pytest.raises(UsageError, match=r"\[datasets.bare\] has no path"):
        resolve_named_datasets(spec(dataset="bare"), TABLES, {})
    with pytest.raises(SpecError, match="dataset_layout: got 'none'") as caught:
        resolve_named_datasets(spec(dataset="bad"), TABLES, {})
    assert caught.value.where == "[datasets] bad"


def test_keys_are_options() -> None:
    assert set(DATASET_KEYS.values()) <= set(TrainingSpec.model_fields)

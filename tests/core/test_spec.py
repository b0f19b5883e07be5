"""TrainingSpec: defaults, messages for bad values, and what other faces read from it."""

import pytest

from mg_tui.core.errors import SpecError
from mg_tui.core.options import options_of
from mg_tui.core.spec import TrainingSpec

REQUIRED = {"base_model": "tiny", "dataset": "d.jsonl"}


def parse(**values: object) -> TrainingSpec:
    return TrainingSpec.parse({**REQUIRED, **values})


def problems(**values: object) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse(**values)
    return {problem.field: problem.accepted for problem in caught.value.problems}


def test_numbers_may_be_texts_as_flags_and_environment_give_them() -> None:
    spec = parse(learning_rate="1e-4", batch_size="4", gradient_checkpointing="false")
    assert (spec.learning_rate, spec.batch_size, spec.gradient_checkpointing) == (1e-4, 4, False)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("learning_rate", "abc", "number greater than 0"),
        ("learning_rate", float("nan"), "number greater than 0"),
        ("epochs", -3, "greater than 0"),
        ("lora_r", 0, "at least 1"),
        ("batch_size", 1.5, "whole number"),
        ("scheduler", "cosin", "cosine, linear"),
        ("report_to", ["comet"], "tensorboard"),
        ("base_model", "", "Qwen/Qwen2.5-VL"),
    ],
)
def test_a_bad_value_names_field_value_and_what_would_do(field: str, value: object, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(**{field: value})
    (problem,) = caught.value.problems
    assert problem.field == field
    assert words in problem.accepted
    assert field in str(caught.value)
    assert caught.value.exit_code == 2


def test_every_bad_value_is_said_at_once() -> None:
    assert set(problems(epochs=-1, lora_r=0, learning_rate="x")) == {"epochs", "lora_r", "learning_rate"}


def test_each_value_is_said_to_stand_where_it_does() -> None:
    def said(where: str | dict[str, str] | None, **values: object) -> SpecError:
        with pytest.raises(SpecError) as caught:
            TrainingSpec.parse({**REQUIRED, **values}, where=where)
        return caught.value

    assert said("spec.json", epochs=-1, lora_r=0).where == "spec.json"
    one = said({"lora_r": "garden.toml"}, lora_r=0)
    assert one.where == "garden.toml" and "garden.toml" not in one.what
    assert said({"lora_r": "garden.toml"}, epochs=-1).where is None
    both = said({"lora_r": "garden.toml"}, epochs=-1, lora_r=0)
    assert both.where is None
    assert [line.endswith("(garden.toml)") for line in both.what.splitlines()] == [False, False, True]


def test_a_misspelt_field_gets_a_suggestion() -> None:
    assert "did you mean learning_rate" in problems(lerning_rate=1e-4)["lerning_rate"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"min_pixels": 2_000_000}, "min_pixels"),
        ({"eval_dataset": "e.jsonl", "eval_split": 0.1}, "eval_split"),
        ({"train_language": "none"}, "train_language"),
        ({"train_language": "full", "quantization": "nf4"}, "quantization"),
    ],
)
def test_fields_that_contradict_each_other(values: dict[str, object], field: str) -> None:
    assert set(problems(**values)) == {field}


def test_spec_survives_json() -> None:
    spec = parse(report_to=["wandb"], max_steps=7)
    assert TrainingSpec.model_validate_json(spec.model_dump_json()) == spec


def test_changed_has_only_what_was_asked_for() -> None:
    assert parse(lora_r=32).changed() == {**REQUIRED, "lora_r": 32}


def test_every_field_describes_itself() -> None:
    described = {opt.name: opt for opt in options_of(TrainingSpec)}
    assert set(described) == set(TrainingSpec.model_fields)
    for opt in described.values():
        assert opt.title and opt.group
        assert opt.help.endswith("."), opt.name
        assert opt.accepted.startswith(("give", "choose")), opt.name


def test_every_default_is_accepted() -> None:
    defaults = {opt.name: opt.default for opt in options_of(TrainingSpec) if not opt.required}
    assert parse(**defaults) == parse()

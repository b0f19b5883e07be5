"""A run that is being put together, without any screen: values, problems, command, presets, steps."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mg_tui.config import Settings
from mg_tui.core.errors import SpecError
from mg_tui.core.options import options_of
from mg_tui.core.presets import ABOUT, BUILT_IN
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.layout.plan import StepPlan
from mg_tui.tui.new.draft import Draft, said
from mg_tui.tui.new.outlook import work_of
from mg_tui.tui.new.rows import about_field, row_of, rows_like, rows_of, rows_that_differ
from mg_tui.tui.words import written

GIVEN = {"base_model": "tiny", "dataset": "a b.jsonl"}
BAD = {
    "integer": ["abc", "1.5", "-7", ""],
    "number": ["abc", "-7", "nan"],
    "choice": ["nonsense", ""],
    "list": ["nonsense"],
    "switch": ["perhaps"],
    "text": [],
    "path": [],
}


def every_bad_value():
    for opt in options_of(TrainingSpec):
        if opt.optional:
            yield from ((opt.name, text) for text in BAD[opt.kind] if text)
        elif opt.kind != "list" or opt.choices:
            yield from ((opt.name, text) for text in BAD[opt.kind])


@pytest.mark.parametrize(("name", "text"), list(every_bad_value()))
def test_a_bad_value_is_said_as_the_command_line_says_it(name: str, text: str) -> None:
    value = (text,) if Draft().options[name].kind == "list" else text
    with pytest.raises(SpecError) as caught:
        TrainingSpec.parse({**GIVEN, name: value})
    (problem,) = [problem for problem in caught.value.problems if problem.field == name]
    draft = Draft(GIVEN)
    draft.set(name, text)
    assert draft.spec is None and said(draft.problems[name]) == " ".join(str(problem).split())
    assert draft.trial(name, text) == problem
    assert about_field(draft, name, None).problem == said(problem)
    assert row_of(draft, draft.options[name]).wrong


def test_every_field_is_in_the_form_with_its_help() -> None:
    draft = Draft()
    shown = [row for row in rows_of(draft, set(draft.groups)) if not row.group]
    assert {row.id for row in shown} == set(TrainingSpec.model_fields)
    assert [row.id for row in shown[: len(draft.basic)]] == [opt.name for opt in options_of(TrainingSpec) if opt.basic]
    for opt in options_of(TrainingSpec):
        about = about_field(draft, opt.name, None)
        assert (about.title, about.help) == (opt.title, opt.help)
        assert opt.flag in about.note and (opt.unit or "") in about.note


def test_groups_are_folded_unless_something_in_them_is_wrong() -> None:
    draft = Draft(GIVEN)
    assert {row.id for row in rows_of(draft, ()) if not row.group} == {opt.name for opt in draft.basic}
    draft.set("seed", "x")
    assert "seed" in {row.id for row in rows_of(draft, ()) if not row.group}
    assert "learning_rate" in [row.id for row in rows_like(draft, "learning rate peak")]


def test_what_is_missing_is_no_error() -> None:
    draft = Draft()
    assert draft.missing == {"base_model", "dataset"} and draft.problems == {} and draft.spec is None
    assert draft.outline is not None and draft.outline.lora_r == 16
    assert draft.command() == "model-garden train-vision --base-model … --dataset …"
    draft.set_all(GIVEN)
    assert draft.spec == TrainingSpec.parse(GIVEN)
    draft.set("dataset", "  ")
    assert draft.missing == {"dataset"}


def test_what_differs_and_the_command_that_says_it() -> None:
    draft = Draft({"lora_r": "32", "name": "mine", "epochs": 4})
    draft.set_all({**GIVEN, "learning_rate": "1e-4", "gradient_checkpointing": False, "epochs": "3", "unheard_of": 1})
    draft.set("report_to", "wandb, tensorboard")
    draft.set("name", "")
    assert draft.changed() == [
        *("base_model", "dataset", "learning_rate", "lora_r", "gradient_checkpointing", "report_to"),
    ]
    assert [row.id for row in rows_that_differ(draft)] == draft.changed()
    assert draft.command(lines=True).split(" \\\n    ") == [
        "model-garden train-vision",
        "--base-model tiny",
        "--dataset 'a b.jsonl'",
        "--epochs 3.0",  # the default, which garden.toml would change
        "--learning-rate 0.0001",
        "--lora-r 32",
        "--no-gradient-checkpointing",
        "--report-to wandb",
        "--report-to tensorboard",
    ]
    assert draft.cannot_say() == ["--name"]
    assert draft.preset() == {
        "learning_rate": 1e-4,
        "lora_r": 32,
        "gradient_checkpointing": False,
        "report_to": ["wandb", "tensorboard"],
    }
    draft.reset("learning_rate")
    assert draft.text("learning_rate") == "2e-5" and not draft.differs("learning_rate")
    draft.clear()
    assert draft.values() == {"lora_r": "32", "name": "mine", "epochs": 4}


def test_the_command_asks_for_the_same_run() -> None:
    import shlex

    from mg_tui.cli.spec_flags import given
    from mg_tui.cli.train import train_vision

    draft = Draft({"lora_r": 32})
    draft.set_all({**GIVEN, "share_images": False, "system_prompt": "Say 'yes'\nor no; $HOME", "eval_split": "0.1"})
    words = shlex.split(draft.command(lines=True).replace(" \\\n", " "))  # as a shell joins lines
    context = train_vision.make_context("train-vision", words[2:])
    values = {name: value for name, value in context.params.items() if name in TrainingSpec.model_fields}
    assert TrainingSpec.parse({"lora_r": 32, **given(values)}) == draft.spec


def test_values_as_they_are_typed() -> None:
    shown = [None, True, False, 2e-5, 1e-4, 3.0, 1e-8, 0.03, ("a", "b"), 7]
    assert list(map(written, shown)) == ["", "on", "off", "2e-5", "1e-4", "3", "1e-8", "0.03", "a, b", "7"]
    for value in (2e-5, 1e-8, 0.03, 1e22, 1 / 3, 1e-5 / 3, 0.0, -0.00025, float("inf")):
        assert float(written(value)) == value


def test_presets_say_the_same_fields_and_can_be_used() -> None:
    assert set(BUILT_IN) == set(ABOUT)
    assert len({frozenset(values) for values in BUILT_IN.values()}) == 1
    for values in BUILT_IN.values():
        assert TrainingSpec.parse({**GIVEN, **values}).changed().keys() <= {*GIVEN, *values}


def test_the_preset_for_24_gb_fits_a_7b_model_into_24_gb(tmp_path: Path) -> None:
    from mg_tui.ahead import forecast
    from mg_tui.hardware.gpus import KNOWN_GPUS

    values = {"base_model": "Qwen/Qwen2.5-VL-7B-Instruct", "dataset": "x", **BUILT_IN["QLoRA, 24 GB"]}
    settings = Settings(home=tmp_path, cache=tmp_path)
    question = forecast.question(TrainingSpec.parse(values), settings, cwd=tmp_path, read_dataset=False)
    assert question.fits(min(gpu.usable for gpu in KNOWN_GPUS if "24 GB" in gpu.name))


@pytest.mark.parametrize("examples", [1, 7, 8, 9, 100])
@pytest.mark.parametrize(("epochs", "most"), [(3, None), (0.5, None), (1.1, None), (2, 5)])
def test_steps_are_those_of_the_engine(examples: int, epochs: float, most: int | None) -> None:
    spec = TrainingSpec.parse({**GIVEN, "epochs": epochs, "max_steps": most})
    work = work_of(spec, SimpleNamespace(examples=[object()] * examples, problems=()), None, None)
    plan = StepPlan(examples, spec.examples_per_step)
    assert work.per_epoch == plan.steps_per_epoch
    assert work.steps == plan.total_steps(epochs, most)

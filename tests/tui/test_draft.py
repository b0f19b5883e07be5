"""A run that is being put together, without any screen: values, problems, command, presets, steps."""

from pathlib import Path

import pytest

from mg_tui.config import Settings
from mg_tui.core.errors import SpecError
from mg_tui.core.example import Example
from mg_tui.core.options import options_of
from mg_tui.core.presets import BUILT_IN_PRESETS, PRESET_DESCRIPTIONS
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.dataset import Dataset
from mg_tui.engine.layout.plan import StepPlan
from mg_tui.tui.formatting import as_typed
from mg_tui.tui.new.draft import RunDraft, format_problem
from mg_tui.tui.new.form_rows import build_changed_rows, build_row, build_rows, describe_field, search_rows
from mg_tui.tui.new.run_estimate import summarize_workload

REQUIRED = {"base_model": "tiny", "dataset": "a b.jsonl"}
INVALID_VALUES = {
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
            yield from ((opt.name, text) for text in INVALID_VALUES[opt.kind] if text)
        elif opt.kind != "list" or opt.choices:
            yield from ((opt.name, text) for text in INVALID_VALUES[opt.kind])


@pytest.mark.parametrize(("name", "text"), list(every_bad_value()))
def test_a_bad_value_is_said_as_the_command_line_says_it(name: str, text: str) -> None:
    value = (text,) if RunDraft().options[name].kind == "list" else text
    with pytest.raises(SpecError) as caught:
        TrainingSpec.parse({**REQUIRED, name: value})
    (problem,) = [problem for problem in caught.value.problems if problem.field == name]
    draft = RunDraft(REQUIRED)
    draft.set(name, text)
    assert draft.spec is None and format_problem(draft.problems[name]) == " ".join(str(problem).split())
    assert draft.problem_if_set(name, text) == problem
    assert describe_field(draft, name, None).problem == format_problem(problem)
    assert build_row(draft, draft.options[name]).invalid


def test_every_field_is_in_the_form_with_its_help() -> None:
    draft = RunDraft()
    rows = [row for row in build_rows(draft, set(draft.advanced_groups)) if not row.is_group]
    assert {row.id for row in rows} == set(TrainingSpec.model_fields)
    assert [row.id for row in rows[: len(draft.basic_options)]] == [
        opt.name for opt in options_of(TrainingSpec) if opt.basic
    ]
    for opt in options_of(TrainingSpec):
        about = describe_field(draft, opt.name, None)
        assert (about.title, about.help) == (opt.title, opt.help)
        assert opt.flag in about.note and (opt.unit or "") in about.note


def test_groups_are_folded_unless_something_in_them_is_wrong() -> None:
    draft = RunDraft(REQUIRED)
    assert {row.id for row in build_rows(draft, ()) if not row.is_group} == {opt.name for opt in draft.basic_options}
    draft.set("seed", "x")
    assert "seed" in {row.id for row in build_rows(draft, ()) if not row.is_group}
    assert "learning_rate" in [row.id for row in search_rows(draft, "learning rate peak")]


def test_what_is_missing_is_no_error() -> None:
    draft = RunDraft()
    assert draft.missing == {"base_model", "dataset"} and draft.problems == {} and draft.spec is None
    assert draft.partial_spec is not None and draft.partial_spec.lora_r == 16
    assert draft.command() == "model-garden train-vision --base-model … --dataset …"
    draft.set_all(REQUIRED)
    assert draft.spec == TrainingSpec.parse(REQUIRED)
    draft.set("dataset", "  ")
    assert draft.missing == {"dataset"}


def test_what_differs_and_the_command_that_says_it() -> None:
    draft = RunDraft({"lora_r": "32", "name": "mine", "epochs": 4})
    draft.set_all(
        {**REQUIRED, "learning_rate": "1e-4", "gradient_checkpointing": False, "epochs": "3", "unheard_of": 1}
    )
    draft.set("report_to", "wandb, tensorboard")
    draft.set("name", "")
    assert draft.changed_fields() == [
        *("base_model", "dataset", "learning_rate", "lora_r", "gradient_checkpointing", "report_to"),
    ]
    assert [row.id for row in build_changed_rows(draft)] == draft.changed_fields()
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
    assert draft.inexpressible_flags() == ["--name"]
    assert draft.preset_values() == {
        "learning_rate": 1e-4,
        "lora_r": 32,
        "gradient_checkpointing": False,
        "report_to": ["wandb", "tensorboard"],
    }
    draft.reset("learning_rate")
    assert draft.text("learning_rate") == "2e-5" and not draft.is_changed("learning_rate")
    draft.clear()
    assert draft.values() == {"lora_r": "32", "name": "mine", "epochs": 4}


def test_the_command_asks_for_the_same_run() -> None:
    import shlex

    from mg_tui.cli.spec_flags import explicit_values
    from mg_tui.cli.train import train_vision

    draft = RunDraft({"lora_r": 32})
    draft.set_all({**REQUIRED, "share_images": False, "system_prompt": "Say 'yes'\nor no; $HOME", "eval_split": "0.1"})
    words = shlex.split(draft.command(lines=True).replace(" \\\n", " "))  # as a shell joins lines
    context = train_vision.make_context("train-vision", words[2:])
    values = {name: value for name, value in context.params.items() if name in TrainingSpec.model_fields}
    assert TrainingSpec.parse({"lora_r": 32, **explicit_values(values)}) == draft.spec


def test_values_as_they_are_typed() -> None:
    values = [None, True, False, 2e-5, 1e-4, 3.0, 1e-8, 0.03, ("a", "b"), 7]
    assert list(map(as_typed, values)) == ["", "on", "off", "2e-5", "1e-4", "3", "1e-8", "0.03", "a, b", "7"]
    for value in (2e-5, 1e-8, 0.03, 1e22, 1 / 3, 1e-5 / 3, 0.0, -0.00025, float("inf")):
        assert float(as_typed(value)) == value


def test_presets_say_the_same_fields_and_can_be_used() -> None:
    assert set(BUILT_IN_PRESETS) == set(PRESET_DESCRIPTIONS)
    assert len({frozenset(values) for values in BUILT_IN_PRESETS.values()}) == 1
    for values in BUILT_IN_PRESETS.values():
        assert TrainingSpec.parse({**REQUIRED, **values}).changed().keys() <= {*REQUIRED, *values}


def test_the_preset_for_24_gb_fits_a_7b_model_into_24_gb(tmp_path: Path) -> None:
    from mg_tui.hardware.known_gpus import KNOWN_GPUS
    from mg_tui.preflight import memory

    values = {"base_model": "Qwen/Qwen2.5-VL-7B-Instruct", "dataset": "x", **BUILT_IN_PRESETS["QLoRA, 24 GB"]}
    settings = Settings(home=tmp_path, cache=tmp_path)
    question = memory.make_advisor(TrainingSpec.parse(values), settings, cwd=tmp_path, read_dataset=False)
    assert question.fits(min(gpu.usable_bytes for gpu in KNOWN_GPUS if "24 GB" in gpu.name))


@pytest.mark.parametrize("examples", [1, 7, 8, 9, 100])
@pytest.mark.parametrize(("epochs", "most"), [(3, None), (0.5, None), (1.1, None), (2, 5)])
def test_steps_are_those_of_the_engine(examples: int, epochs: float, most: int | None) -> None:
    spec = TrainingSpec.parse({**REQUIRED, "epochs": epochs, "max_steps": most})
    dataset = Dataset(Path("a.jsonl"), tuple(Example(row, ()) for row in range(1, examples + 1)), ())
    work = summarize_workload(spec, dataset, None, None)
    plan = StepPlan(examples, spec.examples_per_step)
    assert work.steps_per_epoch == plan.steps_per_epoch
    assert work.steps == plan.total_steps(epochs, most)

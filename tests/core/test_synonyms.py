"""The words of other tools beside each option, which the form's search and messages share."""

import pytest

from mg_tui.core.errors import SpecError
from mg_tui.core.options import find_by_synonym, options_of, suggest_option
from mg_tui.core.spec import TrainingSpec
from mg_tui.tui.new.draft import RunDraft
from mg_tui.tui.new.form_rows import search_rows

OPTIONS = options_of(TrainingSpec)
JARGON = {
    "bf16": "dtype",
    "4bit": "quantization",
    "flash": "attention",
    "wandb": "report_to",
    "per_device_train_batch_size": "batch_size",
    "--per-device-train-batch-size": "batch_size",
    "lr": "learning_rate",
    "grad accum": "gradient_accumulation_steps",
    "load_in_4bit": "quantization",
    "cutoff_len": "max_seq_length",
}


@pytest.mark.parametrize(("words", "name"), JARGON.items())
def test_the_form_finds_an_option_by_the_words_of_other_tools(words: str, name: str) -> None:
    rows = search_rows(RunDraft(), words)
    assert rows and rows[0].id == name, [row.id for row in rows]


@pytest.mark.parametrize(
    ("word", "flag", "key"),
    [
        ("bf16", "--dtype bfloat16", "dtype = bfloat16"),
        ("load_in_4bit", "--quantization nf4", "quantization = nf4"),
        ("per-device-train-batch-size", "--batch-size", "batch_size"),
        ("mask_prompt", "--no-train-on-prompt", "train_on_prompt = off"),
        ("lerning_rate", "--learning-rate", "learning_rate"),
    ],
)
def test_a_suggestion_names_our_flag_or_key(word: str, flag: str, key: str) -> None:
    assert suggest_option("--" + word, OPTIONS, as_flag=True) == f"; did you mean {flag}?"
    assert suggest_option(word, OPTIONS) == f"; did you mean {key}?"


def test_a_choice_by_its_name_elsewhere() -> None:
    with pytest.raises(SpecError) as caught:
        TrainingSpec.parse({"base_model": "tiny", "dataset": "d", "dtype": "bf16", "attention": "flash-attn"})
    accepted = {problem.field: problem.accepted for problem in caught.value.problems}
    assert accepted["dtype"].endswith("; did you mean bfloat16?")
    assert accepted["attention"].endswith("; did you mean flash_attention_2?")


def test_synonyms_stand_for_values_that_exist_and_hide_no_option() -> None:
    names = {opt.name for opt in OPTIONS}
    for opt in OPTIONS:
        for word, value in opt.synonyms.items():
            assert word.replace(" ", "_") not in names, f"{word} is an option itself"
            if value is not None:
                assert value in (opt.choices or ("on", "off")), f"{opt.name}: {word}={value}"
    assert find_by_synonym("nothing like it", OPTIONS) is None

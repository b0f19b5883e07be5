"""Flags are generated from the spec: one for every field, and the spec reads them back."""

import re
import shlex

import click
import pytest
from click.testing import CliRunner

from mg_tui.cli.spec_flags import explicit_values
from mg_tui.cli.train import train_vision
from mg_tui.core.options import format_flags, options_of
from mg_tui.core.spec import TrainingSpec

GUIDE_COMMAND = (
    "--base-model Qwen/Qwen2.5-VL-7B-Instruct --dataset ./data/my_data.jsonl --output-dir ./models/custom-vision "
    "--epochs 5 --batch-size 1 --learning-rate 1e-5 --gradient-accumulation-steps 16 --max-seq-length 2048 --lora-r 32 "
    "--lora-alpha 32 --logging-steps 5 --save-steps 50 --text-field question --image-field img_path"
)


def parse_flags(arguments: str) -> TrainingSpec:
    context = train_vision.make_context("train-vision", shlex.split(arguments))
    values = {name: value for name, value in context.params.items() if name in TrainingSpec.model_fields}
    return TrainingSpec.parse(explicit_values(values))


def test_every_field_has_a_flag_and_a_line_of_help() -> None:
    output = CliRunner().invoke(train_vision, ["--help"]).output
    for opt in options_of(TrainingSpec):
        assert opt.flag in output
        assert f"{opt.group}:" in output


def test_the_default_in_the_help_is_that_of_the_spec() -> None:
    """Given as a flag, the value that the help calls the default is the value of a spec without the flag."""
    context = click.Context(train_vision)
    by_name = {param.name: param for param in train_vision.get_params(context)}
    plain = TrainingSpec.parse({"base_model": "tiny", "dataset": "d"})
    told = 0
    for opt in (opt for opt in options_of(TrainingSpec) if not opt.repeats):
        _flag, text = by_name[opt.name].get_help_record(context) or ("", "")
        stated = re.search(r"\[default: (.+)\]$", text)
        if stated is None:
            assert opt.required or opt.default is None or opt.kind == "list", f"{opt.flag} has a default"
            continue
        told += 1
        default = getattr(plain, opt.name)
        if opt.kind == "switch":
            assert stated[1] == ("on" if default else "off"), opt.flag
        else:
            spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "d", opt.name: stated[1]})
            assert getattr(spec, opt.name) == default, opt.flag
    assert told > 30


def test_the_guide_s_command() -> None:
    spec = parse_flags(GUIDE_COMMAND)
    assert (spec.epochs, spec.learning_rate, spec.gradient_accumulation_steps) == (5, 1e-5, 16)
    assert (spec.text_field, spec.image_field) == ("question", "img_path")


@pytest.mark.parametrize(
    "extra", ["", "--no-gradient-checkpointing --use-dora", "--report-to wandb --report-to mlflow"]
)
def test_a_spec_can_be_written_as_its_command_and_read_again(extra: str) -> None:
    spec = parse_flags(f"{GUIDE_COMMAND} --system-prompt \"it's 'quoted' $HOME\" {extra}")
    assert parse_flags(" ".join(format_flags(spec, spec.changed()))) == spec


@pytest.mark.parametrize(
    ("flag", "ours"),
    [
        ("--per-device-train-batch-size", "--batch-size"),
        ("--per_device_train_batch_size", "--batch-size"),
        ("--bf16", "--dtype bfloat16"),
        ("--load-in-4bit", "--quantization nf4"),
        ("--lerning-rate", "--learning-rate"),
    ],
)
def test_the_flag_of_another_tool_is_answered_with_ours(flag: str, ours: str) -> None:
    result = CliRunner().invoke(train_vision, [flag, "1"])
    assert result.exit_code == 2
    assert f"did you mean {ours}?" in result.output

"""`model-garden init`: a garden.toml by five questions."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from mg_tui.config import CONFIG_FILE_NAME, Settings
from mg_tui.core.errors import GardenError, UsageError
from mg_tui.core.text import did_you_mean, printable

DEFAULT_MODEL: Final = "Qwen/Qwen2.5-VL-3B-Instruct"
_NO_PRESET: Final = "none"  # the built-in defaults, which also run without a GPU
_TRACKERS: Final = ("none", "tensorboard", "wandb", "mlflow", "trackio")


@dataclass(frozen=True, slots=True)
class Question:
    """A question: its text, what it proposes, what can be answered, and the check of an answer.

    `check` returns the answer as it is written, and raises UsageError when it cannot be used.
    """

    text: str
    proposal: str
    check: Callable[[str], str]
    choices: tuple[str, ...] = ()


@click.command("init")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write. [default: garden.toml]")
@click.option("--base-model", metavar="NAME", help="Base model to train.")
@click.option("--dataset", metavar="PATH", help="Dataset to train on; an empty text leaves it open.")
@click.option("--preset", metavar="NAME", help="Preset whose values are the defaults; `none` for the built-in ones.")
@click.option("--home", "runs_home", metavar="PATH", help="Folder for runs.")
@click.option("--report-to", metavar="TRACKER", help=f"Experiment tracker: {', '.join(_TRACKERS)}.")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing; take what is proposed where no flag says otherwise.")
@click.option("--force", is_flag=True, help="Change an existing file; what it sets otherwise, and comments, are kept.")
@click.pass_obj
def init(
    settings: Settings,
    output: Path | None,
    base_model: str | None,
    dataset: str | None,
    preset: str | None,
    runs_home: str | None,
    report_to: str | None,
    yes: bool,
    force: bool,
) -> None:
    """Write a garden.toml by five questions: base model, dataset, preset, folder for runs, tracker.

    A question whose flag is given is not asked; with --yes none is.
    """
    file = output or Path(CONFIG_FILE_NAME)
    if file.exists() and not force:
        raise UsageError(f"{file} exists.", hint="--force changes it; --output names another")
    given = (base_model, dataset, preset, runs_home, report_to)
    if not yes and None in given and not sys.stdin.isatty():
        raise UsageError("Cannot ask questions without a terminal.", hint="give every answer as a flag, or add --yes")
    answers = []
    for question, answer in zip(_questions(settings), given, strict=True):
        if answer is not None:
            answers.append(question.check(answer))
        else:
            answers.append(question.proposal if yes else _ask(question))
    _write(file, *answers)
    click.echo(f"wrote {printable(str(file))}", err=True)
    click.echo("Next: `model-garden`, or " + _next_command(dataset=answers[1]), err=True)


def _questions(settings: Settings) -> tuple[Question, ...]:
    from mg_tui.core.presets import BUILT_IN_PRESETS

    presets = (*BUILT_IN_PRESETS, _NO_PRESET)
    return (
        Question("Base model: a Hub name, a folder, or `tiny` to try it out", DEFAULT_MODEL, _check_model),
        Question("Dataset: a file, a folder or a Hub name; empty to decide later", "", _check_dataset),
        Question("Preset", _NO_PRESET, lambda text: _check_choice("preset", text, presets), presets),
        Question("Folder for runs", str(settings.home), _check_home),
        Question("Experiment tracker", "none", lambda text: _check_choice("tracker", text, _TRACKERS), _TRACKERS),
    )


def _ask(question: Question) -> str:
    """Ask until the answer can be used; of choices, the number or the name."""
    for number, choice in enumerate(question.choices, start=1):
        click.echo(f"  {number}  {choice}{_describe(choice)}", err=True)
    while True:
        answer = click.prompt(question.text, default=question.proposal, show_default=bool(question.proposal), err=True)
        answer = str(answer).strip()
        if question.choices and answer.isdecimal() and 1 <= int(answer) <= len(question.choices):
            answer = question.choices[int(answer) - 1]
        try:
            return question.check(answer)
        except GardenError as error:
            for line in error.lines():
                click.echo(printable(line), err=True)


def _describe(choice: str) -> str:
    from mg_tui.core.presets import PRESET_DESCRIPTIONS

    return f": {PRESET_DESCRIPTIONS[choice]}" if choice in PRESET_DESCRIPTIONS else ""


def _check_model(text: str) -> str:
    from mg_tui.core.spec import TrainingSpec

    return TrainingSpec.parse({"base_model": text, "dataset": "…"}).base_model


def _check_dataset(text: str) -> str:
    from mg_tui.core.paths import expand_user
    from mg_tui.data.sources.hub import parse_hub_name

    if text and not expand_user(text).exists() and parse_hub_name(text) is None:
        raise UsageError(f"There is no {text!r}.", hint="`model-garden create-vision-dataset` writes a sample")
    return text


def _check_home(text: str) -> str:
    from mg_tui.core.paths import expand_user

    folder = expand_user(text)
    if not text or (folder.exists() and not folder.is_dir()):
        raise UsageError("The folder for runs must be a folder.", where=text or "an empty answer")
    return text


def _check_choice(noun: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        what = f"There is no {noun} {text!r}{did_you_mean(text, choices)}"
        raise UsageError(what, hint="choose " + ", ".join(choices))
    return text


def _write(file: Path, base_model: str, dataset: str, preset: str, home: str, tracker: str) -> None:
    """Write the answers; what is as it would be anyway is left out.

    Raises:
        UsageError, EnvironmentProblem: the file is not TOML, or cannot be written.
    """
    from mg_tui.config import load_settings, write_config_value
    from mg_tui.core.presets import BUILT_IN_PRESETS

    train: dict[str, Any] = {"base_model": base_model, **({"dataset": dataset} if dataset else {})}
    train |= BUILT_IN_PRESETS.get(preset, {})
    train |= {"report_to": [tracker]} if tracker != "none" else {}
    for name, value in train.items():
        write_config_value(file, ("train", name), value)
    if home != str(load_settings().home):
        write_config_value(file, ("paths", "home"), home)


def _next_command(*, dataset: str) -> str:
    return "`model-garden train-vision`" if dataset else "`model-garden train-vision --dataset PATH`"

"""`model-garden estimate`: what a run will need in memory, by part, and on which GPUs it fits."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.cli.spec_flags import PRESET, SpecCommand, defaults, given, origins, spec_flags
from mg_tui.config import Settings
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import one_line

if TYPE_CHECKING:
    from mg_tui.hardware.memory import Question
    from mg_tui.hardware.memory.places import Answer

_NONE_GIVEN: Final = "(none)"


@spec_flags(TrainingSpec)
@click.command(cls=SpecCommand)
@PRESET
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def estimate(settings: Settings, /, as_json: bool, preset: str | None, **values: Any) -> None:
    """Say what a run will need in memory, without starting it or loading the model.

    Takes the flags of `train-vision`. With a dataset, its longest rows and its own pictures count; without, a row is
    assumed. Nothing is downloaded; a base model that a plugin lists need not be on this machine.
    """
    from mg_tui.ahead import forecast
    from mg_tui.hardware.memory.places import answer, places

    asked = {**defaults(settings, preset), **given(values)}
    has_dataset = bool(asked.get("dataset"))
    spec = TrainingSpec.parse({"dataset": _NONE_GIVEN, **asked}, where=origins(settings, preset, values))
    dataset = forecast.read(spec, settings, cwd=Path.cwd()) if has_dataset else None
    question = forecast.question(
        spec,
        settings,
        cwd=Path.cwd(),
        dataset=dataset,
        read_dataset=False,
        device="cpu" if spec.device == "cpu" else "cuda",
    )
    if dataset is not None and (bad := len(dataset.bad_rows)):
        rows = f"{bad:,} bad rows are" if bad > 1 else "1 bad row is"
        click.echo(f"{rows} not counted; the first: {one_line(str(dataset.problems[0]))}", err=True)
    found, why_none = places(spec)
    answers = [answer(question, place) for place in found]
    if as_json:
        click.echo(json.dumps(_record(question, answers, why_none), ensure_ascii=False, indent=2))
    else:
        _print(question, answers, why_none)


for _param in estimate.params:
    if isinstance(_param, click.Option) and _param.name == "dataset":
        _param.help = "The JSONL file with the examples; without, a row is assumed."


def _record(question: "Question", answers: "list[Answer]", why_none: str | None) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "base_model": question.spec.base_model,
        **question.estimate().as_dict(),
        "places": [
            {
                **asdict(answer.place),
                "fits": answer.fits,
                "largest_batch": answer.batch,
                "largest_pixels": answer.pixels,
                "remedies": [
                    {"changes": one.changes, "flags": one.flags, "cost": one.cost, "peak": one.estimate.peak}
                    for one in answer.remedies
                ],
            }
            for answer in answers
        ],
        "why_no_gpu": why_none,
    }


def _print(question: "Question", answers: "list[Answer]", why_none: str | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mg_tui.cli.run_text import size

    found = question.estimate()
    console = Console(file=sys.stdout, highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("Memory", footer="peak")
    table.add_column("Size", justify="right", footer=size(found.peak), no_wrap=True)
    table.add_column("What it is", footer=found.moment, overflow="fold")
    for part in found.parts:
        table.add_row(part.name, size(part.bytes), Text(part.why))
    title = f"{one_line(question.spec.base_model)}: {found.parameters:,} parameters, {found.trained:,} trained"
    console.print(Text(title, style="bold"))
    console.print(table)
    fit = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("Device", "Has", "Fits", "Batch", "Pixels", "Would fit with"):
        fit.add_column(heading, overflow="fold", justify="right" if heading in ("Has", "Batch", "Pixels") else "left")
    for answer in answers:
        mark = Text("✓ yes", style="green") if answer.fits else Text("✗ no", style="red")
        numbers = ["–" if value is None else f"{value:,}" for value in (answer.batch, answer.pixels)]
        fit.add_row(Text(one_line(answer.place.name)), size(answer.place.free), mark, *numbers, Text(_change(answer)))
    console.print(fit)
    for line in _notes(question, answers, why_none):
        click.echo(line, err=True)


def _change(answer: "Answer") -> str:
    from mg_tui.cli.run_text import size

    if answer.fits:
        return ""
    if not answer.remedies:
        return "no single change"
    first = answer.remedies[0]
    return f"{first.flags} ({size(first.estimate.peak)})"


def _notes(question: "Question", answers: "list[Answer]", why_none: str | None) -> Iterator[str]:
    from mg_tui.cli.run_text import size

    if why_none:
        yield f"no GPU here: {one_line(why_none)}"
    yield from (f"assumed: {sentence}" for sentence in question.estimate().assumed)
    for answer in answers:
        if answer.place.here and not answer.fits:
            for one in answer.remedies:
                yield f"{one_line(answer.place.name)}: {one.flags} makes it {size(one.estimate.peak)} ({one.cost})"
    yield "Batch and pixels are the largest that fit with everything else as it is."

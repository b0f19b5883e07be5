"""`model-garden estimate`: what a run will need in memory, by part, and on which GPUs it fits."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.cli.spec_flags import PRESET_OPTION, SpecCommand, default_values, explicit_values, spec_flags, value_origins
from mg_tui.config import Settings
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import one_line

if TYPE_CHECKING:
    from mg_tui.hardware.memory import MemoryAdvisor
    from mg_tui.hardware.memory.candidates import DeviceFit

_NO_DATASET: Final = "(none)"


@spec_flags(TrainingSpec)
@click.command(cls=SpecCommand)
@PRESET_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def estimate(settings: Settings, /, as_json: bool, preset: str | None, **values: Any) -> None:
    """Estimate a run's memory without starting it or loading the model.

    Accepts the flags of `train-vision`. With a dataset, its longest rows and image sizes are used; otherwise a typical row is assumed. Nothing is downloaded; base models listed by a plugin need not be available locally.
    """
    from mg_tui.hardware.memory.candidates import find_candidates, fit_on
    from mg_tui.preflight import memory

    asked = {**default_values(settings, preset), **explicit_values(values)}
    has_dataset = bool(asked.get("dataset"))
    spec = TrainingSpec.parse({"dataset": _NO_DATASET, **asked}, where=value_origins(settings, preset, values))
    dataset = memory.load_dataset_headers(spec, settings, cwd=Path.cwd()) if has_dataset else None
    question = memory.make_advisor(
        spec,
        settings,
        cwd=Path.cwd(),
        dataset=dataset,
        read_dataset=False,
        device="cpu" if spec.device == "cpu" else "cuda",
    )
    if dataset is not None and (bad := len(dataset.bad_rows)):
        rows = f"{bad:,} bad rows are" if bad > 1 else "1 bad row is"
        click.echo(f"{rows} ignored; first: {one_line(str(dataset.problems[0]))}", err=True)
    found, why_none = find_candidates(spec)
    answers = [fit_on(question, place) for place in found]
    if as_json:
        click.echo(json.dumps(_estimate_record(question, answers, why_none), ensure_ascii=False, indent=2))
    else:
        _print_estimate(question, answers, why_none)


for _param in estimate.params:
    if isinstance(_param, click.Option) and _param.name == "dataset":
        _param.help = "The dataset; without it, a typical row is assumed."


def _estimate_record(question: "MemoryAdvisor", answers: "list[DeviceFit]", why_none: str | None) -> dict[str, Any]:
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
                    for one in answer.suggestions
                ],
            }
            for answer in answers
        ],
        "why_no_gpu": why_none,
    }


def _print_estimate(question: "MemoryAdvisor", answers: "list[DeviceFit]", why_none: str | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mg_tui.cli.formatting import format_bytes

    found = question.estimate()
    console = Console(file=sys.stdout, highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("Memory", footer="peak")
    table.add_column("Size", justify="right", footer=format_bytes(found.peak), no_wrap=True)
    table.add_column("Description", footer=found.moment, overflow="fold")
    for part in found.parts:
        table.add_row(part.name, format_bytes(part.bytes), Text(part.why))
    title = f"{one_line(question.spec.base_model)}: {found.parameters:,} parameters, {found.trained:,} trained"
    console.print(Text(title, style="bold"))
    console.print(table)
    fit = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("Device", "Has", "Fits", "Batch", "Pixels", "Suggested change"):
        fit.add_column(heading, overflow="fold", justify="right" if heading in ("Has", "Batch", "Pixels") else "left")
    for answer in answers:
        mark = Text("✓ yes", style="green") if answer.fits else Text("✗ no", style="red")
        numbers = ["–" if value is None else f"{value:,}" for value in (answer.batch, answer.pixels)]
        fit.add_row(
            Text(one_line(answer.place.name)), format_bytes(answer.place.free), mark, *numbers, Text(_first_fix(answer))
        )
    console.print(fit)
    for line in _note_lines(question, answers, why_none):
        click.echo(line, err=True)


def _first_fix(answer: "DeviceFit") -> str:
    from mg_tui.cli.formatting import format_bytes

    if answer.fits:
        return ""
    if not answer.suggestions:
        return "no single change is enough"
    first = answer.suggestions[0]
    return f"{first.flags} ({format_bytes(first.estimate.peak)})"


def _note_lines(question: "MemoryAdvisor", answers: "list[DeviceFit]", why_none: str | None) -> Iterator[str]:
    from mg_tui.cli.formatting import format_bytes

    if why_none:
        yield f"no GPU here: {one_line(why_none)}"
    yield from (f"assumed: {sentence}" for sentence in question.estimate().assumed)
    for answer in answers:
        if answer.place.here and not answer.fits:
            for one in answer.suggestions:
                yield f"{one_line(answer.place.name)}: {one.flags} reduces it to {format_bytes(one.estimate.peak)} ({one.cost})"
    yield "Batch and pixels: the largest values that fit with all other options unchanged."

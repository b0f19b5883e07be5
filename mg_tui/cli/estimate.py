"""`model-garden estimate`: memory of a run by component, and the GPUs it fits on."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.cli.spec_flags import PRESET_OPTION, SpecCommand, default_values, explicit_values, spec_flags, value_origins
from mg_tui.cli.tables import format_table, terminal_width
from mg_tui.config import Settings
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import one_line, pluralize

if TYPE_CHECKING:
    from mg_tui.hardware.memory import MemoryAdvisor
    from mg_tui.hardware.memory.candidates import DeviceFit
    from mg_tui.hardware.memory.estimator import MemoryEstimate

_NO_DATASET: Final = "(none)"


@spec_flags(TrainingSpec, help_texts={"dataset": "The dataset; without it, a typical row is assumed."})
@click.command(cls=SpecCommand)
@PRESET_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def estimate(settings: Settings, /, as_json: bool, preset: str | None, **values: Any) -> None:
    """Estimate a run's memory without starting it or loading the model.

    Accepts the flags of `train-vision`. With a dataset, its longest rows and image sizes are used; otherwise a typical
    row is assumed. Nothing is downloaded; base models listed by a plugin need not be available locally.
    """
    from mg_tui.hardware.memory.candidates import find_candidates, fit_on
    from mg_tui.preflight import memory
    from mg_tui.preflight.estimate_record import estimate_record

    merged = {**default_values(settings, preset), **explicit_values(values)}
    has_dataset = bool(merged.get("dataset"))
    spec = TrainingSpec.parse({"dataset": _NO_DATASET, **merged}, where=value_origins(settings, preset, values))
    dataset = memory.load_dataset_headers(spec, settings, cwd=Path.cwd()) if has_dataset else None
    advisor = memory.make_advisor(
        spec,
        settings,
        cwd=Path.cwd(),
        dataset=dataset,
        read_dataset=False,
        device="cpu" if spec.device == "cpu" else "cuda",
    )
    if dataset is not None and (bad := len(dataset.bad_rows)):
        click.echo(f"ignoring {pluralize(bad, 'bad row')}; first: {one_line(str(dataset.problems[0]))}", err=True)
    devices, why_no_gpu = find_candidates(spec)
    fits = [fit_on(advisor, device) for device in devices]
    if as_json:
        click.echo(json.dumps(estimate_record(advisor, fits, why_no_gpu), ensure_ascii=False, indent=2))
    else:
        _print_estimate(advisor, fits, why_no_gpu)


def _print_estimate(advisor: "MemoryAdvisor", fits: "list[DeviceFit]", why_no_gpu: str | None) -> None:
    from rich.console import Console
    from rich.text import Text

    result = advisor.estimate()
    console = Console(file=sys.stdout, highlight=False)
    title = f"{one_line(advisor.spec.base_model)}: {result.parameters:,} parameters, {result.trained:,} trained"
    console.print(Text(title, style="bold"))
    for lines in (_component_table(result), _device_table(fits)):
        click.echo()
        for line in lines:
            click.echo(line)
    click.echo()
    for line in _note_lines(advisor, fits, why_no_gpu):
        click.echo(line, err=True)


def _component_table(result: "MemoryEstimate") -> list[str]:
    from mg_tui.cli.formatting import format_bytes

    rows = [(part.name, format_bytes(part.bytes), one_line(part.why)) for part in result.parts]
    rows.append(("peak", format_bytes(result.peak), one_line(result.moment)))
    return format_table(("memory", "size", "description"), rows, width=terminal_width(), right=("size",))


def _device_table(fits: "list[DeviceFit]") -> list[str]:
    from mg_tui.cli.formatting import format_bytes

    rows = []
    for fit in fits:
        numbers = ["–" if value is None else f"{value:,}" for value in (fit.batch, fit.pixels)]
        mark = "✓ yes" if fit.fits else "✗ no"
        device = one_line(fit.place.name)
        rows.append([device, format_bytes(fit.place.free), mark, *numbers, one_line(_first_suggestion(fit))])
    headings = ("device", "has", "fits", "batch", "pixels", "suggested change")
    return format_table(headings, rows, width=terminal_width(), right=("has", "batch", "pixels"))


def _first_suggestion(fit: "DeviceFit") -> str:
    from mg_tui.cli.formatting import format_bytes

    if fit.fits:
        return ""
    if not fit.suggestions:
        return "no single change is enough"
    first = fit.suggestions[0]
    return f"{first.flags} ({format_bytes(first.estimate.peak)})"


def _note_lines(advisor: "MemoryAdvisor", fits: "list[DeviceFit]", why_no_gpu: str | None) -> Iterator[str]:
    from mg_tui.cli.formatting import format_bytes

    if why_no_gpu:
        yield f"no local GPU: {one_line(why_no_gpu)}"
    yield from (f"assumed: {sentence}" for sentence in advisor.estimate().assumed)
    for fit in fits:
        if fit.place.here and not fit.fits:
            for fix in fit.suggestions:
                peak = format_bytes(fix.estimate.peak)
                yield f"{one_line(fit.place.name)}: {fix.flags} reduces it to {peak} ({fix.cost})"
    if any(not fit.place.here for fit in fits):
        from mg_tui.hardware.known_gpus import NOT_LISTED

        yield NOT_LISTED
    yield "Batch and pixels: the largest values that fit with all other options unchanged."

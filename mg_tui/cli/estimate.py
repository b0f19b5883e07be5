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
    from mg_tui.preflight.gpu_group import GpuGroup

_NO_DATASET: Final = "(none)"
_COUNTS: Final = (1, 2, 4, 8)  # GPUs of one machine


@spec_flags(TrainingSpec, help_texts={"dataset": "The dataset; without it, a typical row is assumed."})
@click.command(cls=SpecCommand)
@PRESET_OPTION
@click.option("--gpus", metavar="0,1|all", help="GPUs of this machine that would train together, one process each.")
@click.option("--table", is_flag=True, help="Print on how many GPUs of each kind it fits: 1, 2, 4 or 8.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def estimate(
    settings: Settings, /, as_json: bool, preset: str | None, gpus: str | None, table: bool, **values: Any
) -> None:
    """Estimate a run's memory without starting it or loading the model.

    With --processes, --nodes or --gpus the numbers are those of each device; --parallel auto shares the weights among
    the devices (fsdp) where a whole model does not fit one.

    Accepts the flags of `train-vision`. With a dataset, its longest rows and image sizes are used; otherwise a typical
    row is assumed. Nothing is downloaded; base models listed by a plugin need not be available locally.
    """
    from mg_tui.cli.launch import parse_gpus
    from mg_tui.hardware.memory.candidates import CandidateDevice, find_candidates, fit_on, settle_for
    from mg_tui.preflight import memory
    from mg_tui.preflight.estimate_record import estimate_record

    merged = {**default_values(settings, preset), **explicit_values(values)}
    has_dataset = bool(merged.get("dataset"))
    spec = TrainingSpec.parse({"dataset": _NO_DATASET, **merged}, where=value_origins(settings, preset, values))
    group = _look_at_gpus(spec, parse_gpus(gpus))
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
    if table:
        _print_table(advisor, as_json=as_json)
        return
    devices, why_no_gpu = find_candidates(spec)
    if group is not None and group.free is not None:
        title = f"GPU {' and '.join(group.names)} of this machine"
        devices = [CandidateDevice(title, group.free, "free now on the one with the least", here=True)]
    count = memory.process_count(spec, group.names if group is not None else ())
    fits = [fit_on(advisor, device, count=count, parallel=spec.parallel) for device in devices]
    advisor = settle_for(advisor, devices, count=count, parallel=spec.parallel)
    if as_json:
        click.echo(json.dumps(estimate_record(advisor, fits, why_no_gpu), ensure_ascii=False, indent=2))
    else:
        _print_estimate(advisor, fits, why_no_gpu)


def _look_at_gpus(spec: TrainingSpec, requested: "tuple[str, ...] | None") -> "GpuGroup | None":
    """The named GPUs, with what is to be known of them on standard error; None when none is named."""
    if requested is None:
        return None
    from mg_tui.preflight.gpu_group import look_at_gpus
    from mg_tui.runs.device_request import check_process_count
    from mg_tui.runs.devices import find_devices

    check_process_count(spec.processes, requested, find_devices())
    group = look_at_gpus(requested)
    for finding in group.findings:
        click.echo(f"warning  {one_line(finding)}", err=True)
    return group


def _print_table(advisor: "MemoryAdvisor", *, as_json: bool) -> None:
    """On how many GPUs of each kind a run fits, with the memory of each device."""
    from mg_tui.cli.formatting import format_bytes
    from mg_tui.hardware.known_gpus import KNOWN_GPUS, NOT_LISTED
    from mg_tui.hardware.memory.candidates import CandidateDevice, fit_on

    parallel, records, rows = advisor.spec.parallel, [], []
    for gpu in KNOWN_GPUS:
        place = CandidateDevice(gpu.name, gpu.usable_bytes, gpu.source, here=False)
        fits = [fit_on(advisor, place, count=count, parallel=parallel) for count in _COUNTS]
        records.append(
            {
                "device": gpu.name,
                "free": gpu.usable_bytes,
                "counts": [
                    {"gpus": count, "fits": fit.fits, "parallel": fit.parallel, "peak": fit.peak}
                    for count, fit in zip(_COUNTS, fits, strict=True)
                ],
            }
        )
        cells = [f"{'✓' if f.fits else '✗'} {format_bytes(f.peak)} {f.parallel or ''}".rstrip() for f in fits]
        rows.append([gpu.name, format_bytes(gpu.usable_bytes), *cells])
    if as_json:
        click.echo(json.dumps(records, ensure_ascii=False, indent=2))
        return
    headings = ("each device", "has", *("1 GPU" if count == 1 else f"{count} GPUs" for count in _COUNTS))
    for line in format_table(headings, rows, width=terminal_width(), right=("has",)):
        click.echo(line)
    for sentence in advisor.estimate().assumed:
        click.echo(f"assumed: {sentence}", err=True)
    click.echo("Not measured on several GPUs: the arithmetic is in docs/memory.md.", err=True)
    click.echo(NOT_LISTED, err=True)


def _print_estimate(advisor: "MemoryAdvisor", fits: "list[DeviceFit]", why_no_gpu: str | None) -> None:
    from rich.console import Console
    from rich.text import Text

    result = advisor.estimate()
    console = Console(file=sys.stdout, highlight=False)
    title = f"{one_line(advisor.spec.base_model)}: {result.parameters:,} parameters, {result.trained:,} trained"
    if result.ranks.count > 1:
        title += f"; on each of {result.ranks.count} devices ({result.ranks.parallel})"
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
        mark += f" ({fit.parallel})" if fit.parallel else ""
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

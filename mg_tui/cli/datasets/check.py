"""`model-garden datasets check`: check every row and image; print findings by kind; write a repaired copy."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.cli.datasets.common import (
    BASE_MODEL_OPTION,
    dataset_spec,
    is_check_option,
    open_and_remember,
    print_detected_format,
)
from mg_tui.cli.progress import progress_bar
from mg_tui.cli.server import refuse_with_server, server_of
from mg_tui.cli.spec_flags import SpecCommand, explicit_values, spec_flags
from mg_tui.config import Settings
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import pluralize

if TYPE_CHECKING:
    from mg_tui.data.checks.findings import CheckReport
    from mg_tui.data.fix import FixResult
    from mg_tui.remote.garden import RemoteGarden

_SEVERITY_MARKS: Final = {"error": ("✗", "red"), "warning": ("!", "yellow"), "note": ("·", "blue")}
_MAX_EXAMPLES: Final = 3


@spec_flags(TrainingSpec, only=is_check_option)
@click.command("check", cls=SpecCommand)
@click.argument("file")
@BASE_MODEL_OPTION
@click.option("--fix", "out", type=click.Path(path_type=Path), help="Write a repaired dataset to this file.")
@click.option("--force", is_flag=True, help="Allow --fix to overwrite an existing file.")
@click.option(
    "--full/--headers", default=True, help="Decode every image as a run does, or read headers only.  [default: --full]"
)
@click.option("--all", "every", is_flag=True, help="List all findings instead of three per kind.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def check(
    ctx: click.Context,
    /,
    file: str,
    base_model: str | None,
    out: Path | None,
    force: bool,
    full: bool,
    every: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Check FILE: fields, turns, images, duplicates, answers and, with --base-model, token counts.

    Every run starts with the same check. Exits with 1 if a run would be stopped. Results are cached, so a second check
    is fast.

    --fix writes valid and repaired rows to a new file and the rest to OUT.rejects.jsonl. FILE is never modified.
    """
    from mg_tui.data.checks.runner import run_checks
    from mg_tui.data.fix import fix_dataset
    from mg_tui.preflight.dataset_check import open_check

    settings: Settings = ctx.obj
    if (garden := server_of(settings)) is not None:
        if out is not None:
            raise refuse_with_server("--fix", "files of the server are not changed from here")
        given = explicit_values(values)
        ctx.exit(_check_there(garden, file, base_model, given, full=full, every=every, as_json=as_json))
    spec = dataset_spec(settings, file, base_model, values)
    source, options = open_and_remember(settings, spec, depth="decode" if full else "header")
    if not as_json:
        print_detected_format(source, options)
    count = base_model is not None or "base_model" in settings.train
    inputs = open_check(spec, settings, source, cwd=Path.cwd(), count=count)
    fixed = None
    with inputs as check_inputs, progress_bar("checking rows and images") as progress:
        limits = check_inputs.limits
        if out is None:
            report = run_checks(source, options, limits, evaluation=check_inputs.evaluation, progress=progress)
        else:
            fixed = fix_dataset(source, options, limits, out, force=force, progress=progress)
            report = fixed.report
    if as_json:
        record = report.as_dict() if fixed is None else {**report.as_dict(), "fixed": _fixed_record(fixed, out)}
        click.echo(json.dumps(record, ensure_ascii=False))
    else:
        _print_report(report, every=every, counted=count)
        if fixed is not None:
            _print_fixed(fixed, out)
    stops = report.blocks_run if fixed is None else fixed.rows_written == 0
    ctx.exit(1 if stops else 0)


def _check_there(
    garden: "RemoteGarden",
    file: str,
    base_model: str | None,
    values: dict[str, Any],
    *,
    full: bool,
    every: bool,
    as_json: bool,
) -> int:
    """Check a dataset of a server and print the report; returns the exit code."""
    from mg_tui.cli.server_datasets import check_there, report_there

    record = check_there(garden, file, base_model=base_model, full=full, values=values)
    report = report_there(garden, record)
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False))
    else:
        _print_report(report, every=every, counted=report.total_tokens is not None)
    return 1 if report.blocks_run else 0


def _print_report(report: "CheckReport", *, every: bool, counted: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    from mg_tui.data.checks.findings import KINDS

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for line in _figure_lines(report):
        console.print(Text(line))
    for kind, count in sorted(report.counts.items(), key=lambda item: _sort_key(item[0])):
        described = KINDS[kind]
        mark, color = _SEVERITY_MARKS[described.severity]
        console.print()
        console.print(Text.assemble((f"{mark} {described.title}", f"bold {color}"), f"  {count:,}"))
        console.print(Text(f"  {described.why}", style="dim"))
        findings = [finding for finding in report.findings if finding.kind == kind]
        examples = findings if every else findings[:_MAX_EXAMPLES]
        for finding in examples:
            console.print(Text(f"  {finding}"))
        if count > len(examples):
            console.print(Text(f"  and {count - len(examples):,} more", style="dim"))
        hints = list(dict.fromkeys(finding.hint for finding in examples if finding.hint))
        if hints and kind != "too-long":
            console.print(Text(f"  try: {hints[0]}", style="dim"))
        if kind == "too-long":
            for fix in report.suggestions:
                effect = f"fixes {fix.rows_saved:,} of {count:,}" if fix.rows_saved else "trains on the remaining rows"
                console.print(Text(f"  {fix.flags:<28} {fix.change}; {effect}"))
    console.print()
    console.print(_verdict(report))
    if not counted:
        click.echo("tokens were not counted; add --base-model to find rows that are too long", err=True)


def _sort_key(kind: str) -> tuple[int, int]:
    from mg_tui.data.checks.findings import KINDS

    return list(_SEVERITY_MARKS).index(KINDS[kind].severity), list(KINDS).index(kind)


def _figure_lines(report: "CheckReport") -> Iterator[str]:
    yield f"rows        {report.rows:,}; {report.good_rows:,} trainable"
    formats = ", ".join(f"{count:,} {name}" for name, count in report.formats.items())
    locations = ", ".join(f"{count:,} by {location}" for location, count in report.image_locations.items())
    if report.images:
        yield f"images      {report.images:,}, used {report.image_uses:,} times: {formats}; located: {locations}"
    figures = (
        ("pixels", "image", report.pixels),
        ("tokens", "row", report.total_tokens),
        ("supervised", "row", report.supervised_tokens),
        ("answers", "row", report.answer_characters),
    )
    for name, per, histogram in figures:
        if histogram is not None and histogram.total:
            median, p90 = histogram.percentile(0.5), histogram.percentile(0.9)
            unit = " characters" if name == "answers" else ""
            figures_text = f"median {median:,}, 90th percentile {p90:,}, maximum {histogram.largest:,}{unit}"
            yield f"{name:<11} {figures_text} (per {per})"
    yield f"took        {report.seconds:.1f} s"


def _verdict(report: "CheckReport") -> Any:
    from rich.text import Text

    if report.blocks_run:
        bad = report.rows - report.good_rows
        verdict = f"{pluralize(bad, 'row')} would stop a run" if report.good_rows else "no trainable rows"
        return Text(f"✗ {verdict}", style="bold red")
    return Text("✓ no errors", style="bold green")


def _fixed_record(fixed: "FixResult", out: Path | None) -> dict[str, Any]:
    return {
        "dataset": str(out),
        "rows": fixed.rows_written,
        "repaired": fixed.rows_repaired,
        "repeated": fixed.duplicates_dropped,
        "rejected": fixed.rows_rejected,
        "rejects": str(fixed.rejects) if fixed.rejects else None,
    }


def _print_fixed(fixed: "FixResult", out: Path | None) -> None:
    from mg_tui.core.text import one_line

    rows = pluralize(fixed.rows_written, "row")
    click.echo(one_line(f"wrote {rows} to {out}, {fixed.rows_repaired:,} repaired"), err=True)
    if fixed.rejects is not None:
        rows = pluralize(fixed.rows_rejected, "row")
        duplicates = f", {fixed.duplicates_dropped:,} of them duplicates" if fixed.duplicates_dropped else ""
        click.echo(one_line(f"moved {rows} to {fixed.rejects}{duplicates}"), err=True)

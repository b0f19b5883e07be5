"""`model-garden datasets check`: every row and picture looked at, and what is wrong with them said."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.cli.datasets_common import (
    base_model_option,
    judging_option,
    open_given,
    say_recognised,
    spec_for,
    telling,
)
from mg_tui.cli.spec_flags import SpecCommand, spec_flags
from mg_tui.config import Settings
from mg_tui.core.spec import TrainingSpec

if TYPE_CHECKING:
    from mg_tui.data.findings import Report
    from mg_tui.data.fix import Fixed

_MARKS: Final = {"error": ("✗", "red"), "warning": ("!", "yellow"), "note": ("·", "blue")}
_EXAMPLES: Final = 3


@spec_flags(TrainingSpec, only=judging_option)
@click.command("check", cls=SpecCommand)
@click.argument("file")
@base_model_option
@click.option("--fix", "out", type=click.Path(path_type=Path), help="Write a repaired dataset to this new file.")
@click.option("--force", is_flag=True, help="Let --fix replace a file that is there.")
@click.option("--full", is_flag=True, help="Decode every pixel; else pictures are judged by their headers.")
@click.option("--all", "every", is_flag=True, help="List every finding that is kept, not three of each kind.")
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
    """Check FILE: fields, turns, pictures, repeats, answers, and with --base-model the tokens of every row.

    It is the check that every run begins with. Exits with 1 when something would stop a run. What was seen and counted
    is kept, so that a second check is quick.

    --fix writes what can be repaired, and all that is good, to a new file, and the rest to OUT's name with
    .rejects.jsonl; FILE is never changed.
    """
    from mg_tui.ahead.inspection import checking
    from mg_tui.data.checking import check as run_check
    from mg_tui.data.fix import fix

    settings: Settings = ctx.obj
    spec = spec_for(settings, file, base_model, values)
    source, reading = open_given(settings, spec, depth="decode" if full else "header")
    if not as_json:
        say_recognised(source, reading)
    count = base_model is not None or "base_model" in settings.train
    asked = checking(spec, settings, source, cwd=Path.cwd(), count=count)
    fixed = None
    with asked as how, telling("checking rows and pictures") as tell:
        if out is None:
            report = run_check(source, reading, how.limits, evaluation=how.evaluation, progress=tell)
        else:
            fixed = fix(source, reading, how.limits, out, force=force, progress=tell)
            report = fixed.report
    if as_json:
        record = report.as_dict() if fixed is None else {**report.as_dict(), "fixed": _fixed_record(fixed, out)}
        click.echo(json.dumps(record, ensure_ascii=False))
    else:
        _print(report, every=every, counted=count)
        if fixed is not None:
            _say_fixed(fixed, out)
    stops = report.stops if fixed is None else fixed.written == 0
    ctx.exit(1 if stops else 0)


def _print(report: "Report", *, every: bool, counted: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    from mg_tui.data.findings import KINDS

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for line in _facts(report):
        console.print(Text(line))
    for kind, count in sorted(report.counts.items(), key=lambda item: _order(item[0])):
        described = KINDS[kind]
        mark, colour = _MARKS[described.severity]
        console.print()
        console.print(Text.assemble((f"{mark} {described.title}", f"bold {colour}"), f"  {count:,}"))
        console.print(Text(f"  {described.why}", style="dim"))
        found = [finding for finding in report.findings if finding.kind == kind]
        shown = found if every else found[:_EXAMPLES]
        for finding in shown:
            console.print(Text(f"  {finding}"))
        if count > len(shown):
            console.print(Text(f"  and {count - len(shown):,} more", style="dim"))
        hints = list(dict.fromkeys(finding.hint for finding in shown if finding.hint))
        if hints and kind != "too-long":
            console.print(Text(f"  try: {hints[0]}", style="dim"))
        if kind == "too-long":
            for remedy in report.remedies:
                saved = f"saves {remedy.saves:,} of {count:,}" if remedy.saves else "the others are trained on"
                console.print(Text(f"  {remedy.flags:<28} {remedy.change}; {saved}"))
    console.print()
    console.print(_verdict(report))
    if not counted:
        click.echo("tokens were not counted: add --base-model to see which rows are too long", err=True)


def _order(kind: str) -> tuple[int, int]:
    from mg_tui.data.findings import KINDS

    return list(_MARKS).index(KINDS[kind].severity), list(KINDS).index(kind)


def _facts(report: "Report") -> Iterator[str]:
    yield f"rows      {report.rows:,}; {report.good:,} can be trained on"
    formats = ", ".join(f"{count:,} {name}" for name, count in report.formats.items())
    places = ", ".join(f"{count:,} by {place}" for place, count in report.places.items())
    if report.images:
        yield f"pictures  {report.images:,}, shown {report.image_uses:,} times: {formats}; found: {places}"
    figures = (
        ("pixels", "pictures", report.pixels),
        ("tokens", "rows", report.tokens),
        ("learned", "rows", report.learned),
        ("answers", "rows", report.answers),
    )
    for name, whose, histogram in figures:
        if histogram is not None and histogram.total:
            half, most = histogram.percentile(0.5), histogram.percentile(0.9)
            unit = " characters" if name == "answers" else ""
            said = f"half of the {whose} to {half:,}, nine in ten to {most:,}, at most {histogram.largest:,}{unit}"
            yield f"{name:<9} {said}"
    yield f"took      {report.seconds:.1f} s"


def _verdict(report: "Report") -> Any:
    from rich.text import Text

    if report.stops:
        bad = report.rows - report.good
        what = f"{bad:,} row{'s' if bad != 1 else ''} would stop a run" if report.good else "no row can be trained on"
        return Text(f"✗ {what}", style="bold red")
    return Text("✓ nothing stops a run", style="bold green")


def _fixed_record(fixed: "Fixed", out: Path | None) -> dict[str, Any]:
    return {
        "dataset": str(out),
        "rows": fixed.written,
        "repaired": fixed.repaired,
        "repeated": fixed.repeated,
        "rejected": fixed.rejected,
        "rejects": str(fixed.rejects) if fixed.rejects else None,
    }


def _say_fixed(fixed: "Fixed", out: Path | None) -> None:
    from mg_tui.core.text import one_line

    rows = f"{fixed.written:,} row{'s' if fixed.written != 1 else ''}"
    said = f"wrote {rows} to {out}, {fixed.repaired:,} repaired"
    click.echo(one_line(said), err=True)
    if fixed.rejects is not None:
        rows = f"{fixed.rejected:,} row{'s' if fixed.rejected != 1 else ''}"
        repeats = f", {fixed.repeated:,} of them repeated" if fixed.repeated else ""
        click.echo(one_line(f"kept {rows} aside in {fixed.rejects}{repeats}"), err=True)

"""`model-garden doctor`: checks of the machine, each a line with what to do."""

import json
from typing import TYPE_CHECKING, Final

import click

from mg_tui.config import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mg_tui.doctor.findings import MachineFinding

_COLORS: Final = {"ok": "green", "warning": "yellow", "problem": "red"}
_SUBJECT_WIDTH: Final = 22


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--deep", is_flag=True, help="Also run in small what runs do: compile flex attention, quantize, use all GPUs."
)
@click.option("--fix", is_flag=True, help="Apply the fixes that cannot harm: missing folders, lingering of this user.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, deep: bool, fix: bool) -> None:
    """Check this machine and what is installed.

    Each line is ok, a warning (runs work, slower or with a risk) or a problem (runs fail or lose something), with what
    to do. Exits with 1 if there is a problem. Takes seconds; --deep takes a minute or more.
    """
    from mg_tui.doctor.examination import examine_machine

    settings: Settings = ctx.obj
    findings = examine_machine(settings.home, settings.cache)
    if fix and (done := _fix(findings, settings, quiet=as_json)):
        findings = examine_machine(settings.home, settings.cache) if done else findings
    if not as_json:
        _print_findings(findings)
    if deep:
        findings += _examine_deeply(as_json=as_json)
    counts = {level: sum(finding.level == level for finding in findings) for level in _COLORS}
    if as_json:
        record = {"findings": [finding.as_dict() for finding in findings], "counts": counts}
        click.echo(json.dumps(record, ensure_ascii=False, indent=2))
    else:
        click.echo(f"{counts['ok']} ok, {_count(counts['warning'], 'warning')}, {_count(counts['problem'], 'problem')}")
    ctx.exit(1 if counts["problem"] else 0)


def _count(count: int, noun: str) -> str:
    from mg_tui.core.text import pluralize

    return pluralize(count, noun)


def _fix(findings: "Sequence[MachineFinding]", settings: Settings, *, quiet: bool) -> bool:
    """Apply the fixes there are; returns whether anything was done."""
    from mg_tui.cli.main import print_error
    from mg_tui.doctor.fixes import apply_fixes

    done = apply_fixes(findings, settings.home, settings.cache)
    for text, error in done:
        if error is not None:
            print_error(error)
        elif not quiet:
            click.echo(f"fixed    {text}", err=True)
    if not done and not quiet:
        click.echo("nothing that can be fixed from here", err=True)
    return any(error is None for _text, error in done)


def _examine_deeply(*, as_json: bool) -> "list[MachineFinding]":
    from mg_tui.doctor.deep import examine_deeply

    found = []
    for finding in examine_deeply(announce=lambda subject: click.echo(f"trying {subject} ...", err=True)):
        found.append(finding)
        if not as_json:
            _print_findings([finding])
    return found


def _print_findings(findings: "Sequence[MachineFinding]") -> None:
    from mg_tui.core.program import runnable
    from mg_tui.core.text import printable
    from mg_tui.doctor.findings import MARKS

    for finding in findings:
        mark = click.style(MARKS[finding.level], fg=_COLORS[finding.level], bold=True)
        click.echo(f"{mark} {finding.subject:<{_SUBJECT_WIDTH}} {printable(finding.text)}")
        if finding.hint:
            click.echo(f"  {'':<{_SUBJECT_WIDTH}} try: {printable(runnable(finding.hint))}")

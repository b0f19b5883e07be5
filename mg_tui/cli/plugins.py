"""`model-garden plugins`: list model families, metric plugins and plugin errors."""

import contextlib
import json
import sys
import textwrap
from typing import TYPE_CHECKING

import click

from mg_tui.cli.plugin_template import new_plugin
from mg_tui.cli.tables import format_table, terminal_width
from mg_tui.core.text import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mg_tui.families.registry import Registry
    from mg_tui.metrics.registry import MetricPlugin

_STATUS_MARKS = {"ok": "✓", "broken": "✗", "disabled": "–"}
_WIDE_COLUMNS = 140  # terminal width from which reasons get a column of the table


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--check", is_flag=True, help="Run the conformance tests without weights; exit 1 on failure.")
@click.pass_context
def plugins(ctx: click.Context, as_json: bool, check: bool) -> None:
    """List model families, what they support, metric plugins and plugin errors.

    Broken plugins are skipped. MODEL_GARDEN_DISABLE_PLUGINS=NAME,NAME disables plugins.
    """
    if ctx.invoked_subcommand is not None:
        return
    from mg_tui.families.registry import DISABLE_ENV, load_registry
    from mg_tui.metrics.registry import load_metrics
    from mg_tui.preflight.plugin_records import metric_plugin_record, plugin_record

    with contextlib.redirect_stdout(sys.stderr):  # what plugins print must not get into the output
        registry = load_registry()
        metric_plugins = load_metrics().plugins
        findings = _check_families(registry) if check else None
    if as_json:
        records = [plugin_record(plugin, registry, findings) for plugin in registry.plugins]
        records += [metric_plugin_record(plugin) for plugin in metric_plugins]
        click.echo(json.dumps(records, ensure_ascii=False, indent=2))
    else:
        _print_table(registry, findings)
        _print_limits(registry)
        _print_metric_plugins(metric_plugins)
    for name in sorted(set(registry.unknown_disabled) - {plugin.name for plugin in metric_plugins}):
        click.echo(f"warning: {DISABLE_ENV} names {printable(name)!r}, but there is no such plugin", err=True)
    statuses = [plugin.status for plugin in registry.plugins] + [plugin.status for plugin in metric_plugins]
    if findings is not None and (any(findings.values()) or "broken" in statuses):
        ctx.exit(1)


plugins.add_command(new_plugin)


def _check_families(registry: "Registry") -> dict[str, list[str]]:
    """Findings of the conformance tests for each loaded family, by its key."""
    from mg_tui.families.testing import check_family

    findings: dict[str, list[str]] = {}
    for family in registry.families:
        click.echo(f"checking {printable(family.title)} ...", err=True)
        findings[family.key] = check_family(family, weights=False)
    return findings


def _print_table(registry: "Registry", findings: dict[str, list[str]] | None) -> None:
    if not registry.plugins:
        from mg_tui.families.registry import INSTALL_HINT

        click.echo(f"No plugins installed; {INSTALL_HINT}.", err=True)
        return
    from mg_tui.preflight.plugin_records import families_of

    width = terminal_width()
    # In a narrow terminal a column would break reasons into many short lines; they are printed below instead.
    why_column = width is None or width >= _WIDE_COLUMNS
    rows, below = [], []
    for plugin in registry.plugins:
        families = families_of(plugin, registry)
        problems = [finding for family in families for finding in (findings or {}).get(family.key, ())]
        why = [one_line(reason) for reason in ([plugin.problem] if plugin.problem else problems)]
        below += [f"{one_line(plugin.name)}: {line}" for line in why]
        status = "failed" if problems else plugin.status
        cells = (
            plugin.name,
            plugin.version or "",
            f"{_STATUS_MARKS['broken' if problems else plugin.status]} {status}",
            ", ".join(family.title for family in families),
            ", ".join(kind for family in families for kind in family.model_types),
        )
        rows.append([*map(one_line, cells), *(["; ".join(why)] if why_column else [])])
    headings = ("plugin", "version", "status", "families", "model types", *(["why"] if why_column else []))
    for line in [*format_table(headings, rows, width=width), *(below if not why_column else [])]:
        click.echo(line)


def _print_limits(registry: "Registry") -> None:
    """What each family does not support, or not yet for sure, with the reason."""
    from typing import get_args

    from mg_tui.families.contract import CapabilityName

    width = terminal_width()
    for family in registry.families:
        for name in get_args(CapabilityName):
            capability = family.capability(name)
            if why := getattr(capability, "why", None):
                level = type(capability).__name__.lower()
                text = f"{one_line(family.title)}: {name} is {level}: {one_line(why)}"
                click.echo("\n".join(textwrap.wrap(text, width or len(text), subsequent_indent="  ")))


def _print_metric_plugins(plugins: "Sequence[MetricPlugin]") -> None:
    """A line for each plugin that adds metrics."""
    for plugin in plugins:
        mark = _STATUS_MARKS[plugin.status]
        names = ", ".join(metric.name for metric in plugin.values) or "none"
        why = f": {one_line(plugin.problem)}" if plugin.problem else ""
        click.echo(f"{mark} {one_line(plugin.name)} {plugin.version or ''} metrics {names} {plugin.status}{why}")

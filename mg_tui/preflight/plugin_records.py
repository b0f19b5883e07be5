"""Installed plugins as plain values: what `plugins --json` prints and the API answers."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from mg_tui.families.contract import Capability, CapabilityName
from mg_tui.families.family import ModelFamily
from mg_tui.families.registry import PluginStatus, Registry
from mg_tui.metrics.registry import MetricPlugin


def families_of(plugin: PluginStatus, registry: Registry) -> list[ModelFamily]:
    """The families that a plugin has loaded."""
    return [family for family in registry.families if family.key in plugin.families]


def plugin_record(
    plugin: PluginStatus, registry: Registry, findings: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """A plugin with its families; `findings` of the conformance tests by a family's key."""
    families = [_family_record(family) for family in families_of(plugin, registry)]
    if findings is not None:
        families = [{**family, "findings": findings.get(family["key"], [])} for family in families]
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "module": plugin.module,
        "file": plugin.file,
        "status": plugin.status,
        "problem": plugin.problem,
        "families": families,
    }


def metric_plugin_record(plugin: MetricPlugin) -> dict[str, Any]:
    """A plugin with its metrics."""
    metrics = [{"name": metric.name, "version": metric.version, "title": metric.title} for metric in plugin.values]
    facts = ("name", "distribution", "version", "module", "file", "status", "problem")
    return {**{fact: getattr(plugin, fact) for fact in facts}, "metrics": metrics}


def _family_record(family: ModelFamily) -> dict[str, Any]:
    return {
        "key": family.key,
        "title": family.title,
        "model_types": list(family.model_types),
        "checkpoints": [
            {"name": item.name, "title": item.title, "parameters": item.parameters, "note": item.note}
            for item in family.checkpoints
        ],
        "capabilities": {name: _capability_record(family.capability(name)) for name in get_args(CapabilityName)},
    }


def _capability_record(capability: Capability) -> dict[str, str]:
    record = {"level": type(capability).__name__.lower()}
    why = getattr(capability, "why", None)
    return {**record, "why": why} if why else record

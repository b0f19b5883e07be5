"""Which metrics there are: those that are built in, and those of plugins.

A plugin cannot take the name of a built-in metric. Two plugins that claim one name both lose it, as with model
families. `MODEL_GARDEN_DISABLE_PLUGINS=name,name` (or `all`) leaves plugins out.
"""

import difflib
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from typing import Any, Final

from mg_tui import hooks
from mg_tui.core.errors import UsageError
from mg_tui.core.text import one_line
from mg_tui.hooks import DISABLE_ENV
from mg_tui.metrics import boxes, captions, distance, exact, hookspec, labels, numeric, overlap, structured
from mg_tui.metrics.contract import Metric

BUILT_IN: Final[tuple[Metric, ...]] = tuple(
    chain.from_iterable(
        module.metrics() for module in (exact, distance, overlap, captions, numeric, structured, labels, boxes)
    )
)

MetricPlugin = hooks.Loaded[Metric]


@dataclass(frozen=True, slots=True)
class MetricRegistry:
    """The metrics that can be used, and the plugins some of them come from.

    Attributes:
        metrics: built-in ones in the order of the docs, then those of plugins by name.
        plugins: every installed plugin, by name, broken and disabled ones included.
    """

    metrics: tuple[Metric, ...]
    plugins: tuple[MetricPlugin, ...] = ()

    def named(self, names: Iterable[str]) -> list[Metric]:
        """The metrics of these names, in their order.

        Raises:
            UsageError: there is none of a name, or a name is given twice.
        """
        names = list(names)
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UsageError(f"the metric {one_line(twice[0])!r} is named twice")
        return [self._one(name) for name in names]

    def _one(self, name: str) -> Metric:
        for metric in self.metrics:
            if metric.name == name:
                return metric
        known = [metric.name for metric in self.metrics]
        near = difflib.get_close_matches(name, known, n=3)
        broken = [plugin.name for plugin in self.plugins if plugin.status != "ok"]
        raise UsageError(
            f"there is no metric {one_line(name, limit=60)!r}",
            why=f"there are {', '.join(known)}"
            + (f"; not in use are the plugins {', '.join(broken)}" if broken else ""),
            hint=f"did you mean {' or '.join(near)}?" if near else "see docs/evaluation.md",
        )


@cache
def load_metrics() -> MetricRegistry:
    """The metrics of this process, every installed plugin of the group `mg_tui.metrics` loaded once."""
    return make_registry(entry_points(group=hookspec.ENTRY_POINT_GROUP), os.environ)


def make_registry(entries: Iterable[EntryPoint], environ: Mapping[str, str]) -> MetricRegistry:
    """A registry of the built-in metrics and of these plugins; `environ` may disable some of them."""
    disabled = {name.strip() for name in environ.get(DISABLE_ENV, "").split(",") if name.strip()}
    ordered = sorted(entries, key=lambda entry: (entry.name, entry.value))
    loaded = [hooks.load(entry, _HOOK, disabled=bool({"all", entry.name} & disabled)) for entry in ordered]
    claims = Counter(name for plugin in loaded for name in {metric.name for metric in plugin.values})
    plugins = tuple(_settled(plugin, claims, loaded) for plugin in loaded)
    added = [replace(metric, origin=plugin.name) for plugin in plugins for metric in plugin.values]
    return MetricRegistry((*BUILT_IN, *sorted(added, key=lambda metric: metric.name)), plugins)


def _settled(plugin: MetricPlugin, claims: Counter[str], loaded: list[MetricPlugin]) -> MetricPlugin:
    """The plugin without the metrics whose names are not its alone."""
    contested = [metric.name for metric in plugin.values if claims[metric.name] > 1]
    if not contested:
        return plugin
    name = contested[0]
    claimants = sorted(other.name for other in loaded if name in {metric.name for metric in other.values})
    return replace(
        plugin,
        status="broken",
        problem=f"metric {name!r} is claimed by {' and '.join(claimants)}, so neither is used ({plugin.file})",
        values=tuple(metric for metric in plugin.values if metric.name not in contested),
    )


_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_BUILT_IN_NAMES: Final = frozenset(metric.name for metric in BUILT_IN)


def metric_problems(metric: Metric) -> list[str]:
    """Everything wrong with what a plugin declares, as sentences that begin with its name.

    Types are looked at too: a plugin need not have been seen by a type checker.
    """
    given: Any = metric
    name = given.name
    problems = []
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problems.append("its name is not of lower-case letters, digits and underscores, 40 at most")
    elif name in _BUILT_IN_NAMES:
        problems.append("a built-in metric has this name")
    if not isinstance(given.version, str) or not given.version:
        problems.append("its version is no text")
    if not isinstance(given.title, str) or not given.title:
        problems.append("its title is no text")
    if not callable(given.compute):
        problems.append("compute is no function")
    bounds = given.bounds
    if not (
        isinstance(bounds, tuple)
        and len(bounds) == 2
        and all(isinstance(bound, int | float) and not math.isnan(bound) for bound in bounds)
        and bounds[0] < bounds[1]
    ):
        problems.append("its bounds are not two numbers, the lower first")
    return [f"{name}: {problem}" for problem in problems]


_HOOK: Final = hooks.Hook("mg_metrics", hookspec.PROJECT_NAME, hookspec, Metric, "metrics", metric_problems)


def docs_table() -> str:
    """The table of docs/evaluation.md."""
    lines = ["| metric | version | what it scores | range | source |", "|---|---|---|---|---|"]
    for metric in BUILT_IN:
        low, high = metric.bounds
        scale = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more"
        better = "" if metric.higher_is_better else ", less is better"
        needs = []
        if metric.minimum_references > 1:
            needs.append(f"at least {metric.minimum_references} references a row")
        if metric.minimum_images:
            needs.append(f"at least {metric.minimum_images} images")
        what = metric.summary + (f" Needs {' and '.join(needs)}." if needs else "")
        lines.append(f"| `{metric.name}` | {metric.version} | {what} | {scale}{better} | {metric.source} |")
    return "\n".join(lines) + "\n"

"""The registry: which families are installed, and which one a checkpoint belongs to.

A family is chosen by the `model_type` in the checkpoint's `config.json`: a table look-up, not an election. Two plugins
that claim one type, or one key, both lose it, and the error names both: neither order of installation nor of names
decides what a run is made with. `MODEL_GARDEN_DISABLE_PLUGINS=name,name` (or `all`) leaves plugins out.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mg_tui.core.errors import FamilyError
from mg_tui.core.text import one_line
from mg_tui.families.base_models import ResolvedModel, has_vision, local_folder, read_config, require_hub_name
from mg_tui.families.contract import Checkpoint, ModelFamily
from mg_tui.families.hookspec import ENTRY_POINT_GROUP
from mg_tui.families.plugin_loader import LoadedPlugin, PluginStatus, load_plugin
from mg_tui.hooks import DISABLE_ENV, METRICS_GROUP

__all__ = ["DISABLE_ENV", "PluginStatus", "Registry", "ResolvedModel", "load_registry", "make_registry"]


@dataclass(frozen=True, slots=True)
class Registry:
    """The families that can be used, and the plugins they come from.

    Attributes:
        families: usable ones, by key.
        plugins: every installed plugin, by name, broken and disabled ones included.
        disputed: model types that several plugins claim, and those plugins' names.
        unknown_disabled: names in MODEL_GARDEN_DISABLE_PLUGINS that no installed plugin has.
    """

    families: tuple[ModelFamily, ...]
    plugins: tuple[PluginStatus, ...]
    conflicting_model_types: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unknown_disabled: tuple[str, ...] = ()

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Every checkpoint of every family: what `--base-model` can be completed with."""
        return tuple(checkpoint for family in self.families for checkpoint in family.checkpoints)

    def by_key(self, key: str) -> ModelFamily:
        """The family of this key.

        Raises:
            FamilyError: it is not installed, or cannot be used.
        """
        for family in self.families:
            if family.key == key:
                return family
        raise FamilyError(f"model family {one_line(key)!r} is not installed", why=self._installed(), hint=self._hint())

    def by_model_type(self, model_type: str) -> ModelFamily:
        """The family that the `model_type` of a `config.json` selects.

        Raises:
            FamilyError: none does, or several plugins claim it; the message lists what is installed.
        """
        for family in self.families:
            if model_type in family.model_types:
                return family
        if model_type in self.conflicting_model_types:
            claimants = self.conflicting_model_types[model_type]
            raise FamilyError(
                f"model type {model_type!r} is claimed by {' and '.join(claimants)}",
                why="ambiguous, so neither is used",
                hint=f"uninstall one, or set {DISABLE_ENV}={claimants[-1]}",
            )
        raise FamilyError(
            f"no installed model family handles model type {one_line(model_type, limit=100)!r}",
            why=self._installed(),
            hint=self._hint(),
        )

    def family_for_config(self, config: Mapping[str, Any], *, where: str) -> ModelFamily:
        """The family of a checkpoint by its configuration; `where` is the checkpoint, for messages.

        Raises:
            FamilyError: as `by_model_type`; or it names no type, or is a text-only model.
        """
        model_type = config.get("model_type")
        if not isinstance(model_type, str) or not model_type:
            raise FamilyError("the model's config.json names no model_type", where=where)
        try:
            return self.by_model_type(model_type)
        except FamilyError as error:
            if model_type in self.conflicting_model_types or has_vision(config):
                raise FamilyError(error.what, where=where, why=error.why, hint=error.hint) from None
            raise FamilyError(
                f"this is a text-only model (model type {one_line(model_type, limit=100)}): it has no vision input",
                where=where,
                why=f"its config.json has no vision_config; {self._installed()}",
                hint="choose a vision-language checkpoint",
            ) from None

    def resolve(self, base_model: str, *, revision: str | None = None, fetch: bool = False) -> ResolvedModel:
        """What a base model's name means: an alias such as `tiny`, else a folder, else a name on the hub.

        Args:
            base_model: as the user gave it; write `./tiny` for a folder that is called like an alias.
            revision: branch, tag or commit on the hub.
            fetch: ask the hub for the configuration when it is not on this machine. Without it nothing touches the
                network, and `family` is None for a hub name that no plugin lists and no cache holds.

        Raises:
            FamilyError: no installed family handles it, it is text-only, or its folder holds no model.
            UsageError: it is a path to nothing, or cannot be a name on the hub, or (`fetch`) is not there.
            EnvironmentProblem: (`fetch`) the hub cannot be reached, or wants a login.
        """
        listed = {checkpoint.name: checkpoint for checkpoint in self.checkpoints}
        alias = listed.get(base_model)
        folder = alias.path if alias and alias.path else local_folder(base_model)
        if folder is not None:
            config = read_config(folder)
            found_family = self.family_for_config(config, where=str(folder))
            return ResolvedModel(base_model, str(folder), True, found_family, config, alias=alias is not None)
        require_hub_name(base_model, list(listed))
        from mg_tui.families import hub

        found = hub.cached_config(base_model, revision)
        if found is None and fetch:
            found = hub.fetch_config(base_model, revision, known=list(listed))
        if found is not None:
            return ResolvedModel(base_model, base_model, False, self.family_for_config(found, where=base_model), found)
        family = next((family for family in self.families if alias and alias in family.checkpoints), None)
        return ResolvedModel(base_model, base_model, False, family)

    def _installed(self) -> str:
        if not self.families:
            return "no usable model family"
        listed = "; ".join(f"{family.title} ({', '.join(family.model_types)})" for family in self.families)
        return f"installed families: {listed}"

    def _hint(self) -> str:
        broken = [plugin.name for plugin in self.plugins if plugin.status != "ok"]
        return "see `model-garden plugins`" + (f"; disabled or broken: {', '.join(broken)}" if broken else "")


@cache
def load_registry() -> Registry:
    """The registry of this process: every installed plugin of the group `mg_tui.families`, loaded once."""
    other_plugins = [entry.name for entry in entry_points(group=METRICS_GROUP)]
    return make_registry(entry_points(group=ENTRY_POINT_GROUP), os.environ, other_plugins=other_plugins)


def make_registry(
    entries: Iterable[EntryPoint], environ: Mapping[str, str], *, other_plugins: Iterable[str] = ()
) -> Registry:
    """A registry of these plugins; `environ` may disable some of them and some of `other_plugins`, of other groups."""
    names = [name.strip() for name in environ.get(DISABLE_ENV, "").split(",") if name.strip()]
    ordered = sorted(entries, key=lambda entry: (entry.name, entry.value))
    loaded = [load_plugin(entry, disabled="all" in names or entry.name in names) for entry in ordered]
    loaded, disputed = _drop_conflicts(loaded)
    families = sorted((family for plugin in loaded for family in plugin.families), key=lambda family: family.key)
    unknown = set(names) - {"all", *other_plugins} - {entry.name for entry in ordered}
    statuses = tuple(plugin.status for plugin in loaded)
    return Registry(tuple(families), statuses, disputed, tuple(sorted(unknown)))


def _drop_conflicts(loaded: list[LoadedPlugin]) -> tuple[list[LoadedPlugin], dict[str, tuple[str, ...]]]:
    """Take away every family whose key, a model type or a checkpoint's name another one claims as well."""
    claims: dict[tuple[str, str], list[tuple[str, ModelFamily]]] = defaultdict(list)
    for plugin in loaded:
        for family in plugin.families:
            for claim in _claims_of(family):
                claims[claim].append((plugin.status.name, family))
    contested = {claim: owners for claim, owners in claims.items() if len(owners) > 1}
    settled = []
    for plugin in loaded:
        kept = tuple(
            family for family in plugin.families if not any(claim in contested for claim in _claims_of(family))
        )
        if len(kept) < len(plugin.families):
            lost = [claim for family in plugin.families for claim in _claims_of(family) if claim in contested]
            plugin = LoadedPlugin(_conflict_status(plugin.status, lost, contested, kept), kept)
        settled.append(plugin)
    disputed: dict[str, tuple[str, ...]] = {}
    for owners in contested.values():
        claimants = tuple(sorted({name for name, _family in owners}))
        for _name, family in owners:
            disputed.update(dict.fromkeys(family.model_types, claimants))
    return settled, disputed


def _claims_of(family: ModelFamily) -> list[tuple[str, str]]:
    names = [("checkpoint", checkpoint.name) for checkpoint in family.checkpoints]
    return [("key", family.key), *(("model type", value) for value in family.model_types), *names]


def _conflict_status(
    status: PluginStatus,
    lost: list[tuple[str, str]],
    contested: Mapping[tuple[str, str], list[tuple[str, ModelFamily]]],
    kept: tuple[ModelFamily, ...],
) -> PluginStatus:
    kind, value = lost[0]
    others = sorted({name for name, _family in contested[lost[0]]} - {status.name}) or [status.name]
    problem = (
        f"{kind} {value!r} is claimed by {' and '.join([status.name, *others])}, so neither is used"
        if others != [status.name]
        else f"two of its families claim {kind} {value!r}"
    )
    where = f" ({status.file})" if status.file else ""
    return replace(status, status="broken", problem=problem + where, families=tuple(family.key for family in kept))

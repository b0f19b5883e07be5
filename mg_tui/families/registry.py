"""The registry of installed families, and which one a checkpoint belongs to.

A family is selected by the `model_type` in the checkpoint's `config.json`. When two plugins claim the same type, key or
checkpoint name, neither gets it, and the error names both: the order of plugins never decides which family a run uses.
`MODEL_GARDEN_DISABLE_PLUGINS=name,name` (or `all`) disables plugins.
"""

import importlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from mg_tui.core.errors import FamilyError
from mg_tui.core.spec import FamilyChoice
from mg_tui.core.text import one_line
from mg_tui.families.base_models import ResolvedModel, has_vision, local_folder, read_config, require_hub_name
from mg_tui.families.contract import Checkpoint
from mg_tui.families.family import ModelFamily
from mg_tui.families.hookspec import ENTRY_POINT_GROUP
from mg_tui.families.plugin_loader import LoadedPlugin, PluginStatus, load_plugin
from mg_tui.hooks import DISABLE_ENV, METRICS_GROUP

__all__ = [
    "DISABLE_ENV",
    "INSTALL_HINT",
    "PluginStatus",
    "Registry",
    "ResolvedModel",
    "load_registry",
    "make_registry",
    "reload_registry",
]

# No family is part of the package: they are plugins, which its default install brings.
INSTALL_HINT: Final = "install the model families: `pip install model-garden-tui` brings them all"


@dataclass(frozen=True, slots=True)
class Registry:
    """The usable families, and the plugins that provide them.

    Attributes:
        families: usable ones, by key.
        plugins: every installed plugin, by name, broken and disabled ones included.
        conflicting_model_types: model types that several plugins claim, with those plugins' names.
        unknown_disabled: names in MODEL_GARDEN_DISABLE_PLUGINS that no installed plugin has.
    """

    families: tuple[ModelFamily, ...]
    plugins: tuple[PluginStatus, ...]
    conflicting_model_types: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unknown_disabled: tuple[str, ...] = ()

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Every checkpoint of every family; completions of `--base-model`."""
        return tuple(checkpoint for family in self.families for checkpoint in family.checkpoints)

    def by_key(self, key: str) -> ModelFamily:
        """The family of this key.

        Raises:
            FamilyError: there is none; the message lists the installed families.
        """
        for family in self.families:
            if family.key == key:
                return family
        raise FamilyError(
            f"no installed model family is named {one_line(key, limit=100)!r}", why=self._installed(), hint=self._hint()
        )

    def by_model_type(self, model_type: str) -> ModelFamily:
        """The family that the `model_type` of a `config.json` selects.

        Raises:
            FamilyError: none does, or several plugins claim it; the message lists the installed families.
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

    def family_for_config(
        self, config: Mapping[str, Any], *, where: str, choice: FamilyChoice = "known"
    ) -> ModelFamily:
        """The family of a checkpoint by its configuration.

        Args:
            config: its `config.json`.
            where: the checkpoint, for messages.
            choice: auto: where no installed family handles the model type, the generic one of `auto`.

        Raises:
            FamilyError: as `by_model_type`; or it has no model type, or is a text-only model.
        """
        model_type = config.get("model_type")
        if not isinstance(model_type, str) or not model_type:
            raise FamilyError("the model's config.json names no model_type", where=where)
        try:
            return self.by_model_type(model_type)
        except FamilyError as error:
            if model_type in self.conflicting_model_types:
                raise FamilyError(error.what, where=where, why=error.why, hint=error.hint) from None
            if has_vision(config):
                if choice == "auto":
                    from mg_tui.families.auto import make_auto_family

                    return make_auto_family(model_type)
                hint = f"train it generically with --family auto, or {error.hint}"
                raise FamilyError(error.what, where=where, why=error.why, hint=hint) from None
            raise FamilyError(
                f"this is a text-only model (model type {one_line(model_type, limit=100)}): it has no vision input",
                where=where,
                why=f"its config.json has no vision_config; {self._installed()}",
                hint="choose a vision-language checkpoint",
            ) from None

    def resolve(
        self,
        base_model: str,
        *,
        revision: str | None = None,
        fetch: bool = False,
        choice: FamilyChoice = "known",
    ) -> ResolvedModel:
        """Resolve a base model: an alias such as `tiny`, else a folder, else a Hub name.

        Args:
            base_model: the text the user gave; `./tiny` is a folder that is named like an alias.
            revision: branch, tag or commit on the Hub.
            fetch: download the configuration when it is not available locally. Without it there is no network access,
                and `family` is None for a Hub name that no plugin lists and that is not cached.
            choice: see `family_for_config`.

        Raises:
            FamilyError: no family is installed, none handles it, it is text-only, or its folder holds no model.
            UsageError: the path does not exist, the name is no Hub name, or (`fetch`) the Hub has no such model.
            EnvironmentProblem: (`fetch`) the Hub is unreachable, or requires a login.
        """
        if not self.families and not self.plugins and choice != "auto":
            raise FamilyError("no model family is installed", why="families are plugins", hint=INSTALL_HINT)
        listed = {checkpoint.name: checkpoint for checkpoint in self.checkpoints}
        alias = listed.get(base_model)
        folder = alias.path if alias and alias.path else local_folder(base_model)
        if folder is not None:
            config = read_config(folder)
            owner = self.family_for_config(config, where=str(folder), choice=choice)
            return ResolvedModel(base_model, str(folder), True, owner, config, alias=alias is not None)
        require_hub_name(base_model, list(listed))
        from mg_tui.families import hub

        cached = hub.cached_config(base_model, revision)
        if cached is None and fetch:
            cached = hub.fetch_config(base_model, revision, known=list(listed))
        if cached is not None:
            owner = self.family_for_config(cached, where=base_model, choice=choice)
            return ResolvedModel(base_model, base_model, False, owner, cached)
        family = next((family for family in self.families if alias and alias in family.checkpoints), None)
        return ResolvedModel(base_model, base_model, False, family)

    def _installed(self) -> str:
        if not self.families:
            return "no usable model family"
        listed = "; ".join(f"{family.title} ({', '.join(family.model_types)})" for family in self.families)
        return f"installed families: {listed}"

    def _hint(self) -> str:
        if not self.families and not self.plugins:
            return INSTALL_HINT
        broken = [plugin.name for plugin in self.plugins if plugin.status != "ok"]
        return "see `model-garden plugins`" + (f"; disabled or broken: {', '.join(broken)}" if broken else "")


@cache
def load_registry() -> Registry:
    """The registry of this process: every installed plugin of the group `mg_tui.families`, loaded once."""
    installed = entry_points()  # once for both groups: it reads a file of every installed package
    other_plugins = [entry.name for entry in installed.select(group=METRICS_GROUP)]
    return make_registry(installed.select(group=ENTRY_POINT_GROUP), os.environ, other_plugins=other_plugins)


def reload_registry() -> Registry:
    """The registry with the plugins that were installed or removed since this process looked; later calls get it too.

    The code of a plugin that was imported before stays: a new version of it needs a new process, as runs are.
    """
    importlib.invalidate_caches()
    load_registry.cache_clear()
    return load_registry()


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
    """Drop every family whose key, model type or checkpoint name another family claims as well."""
    claims: dict[tuple[str, str], list[tuple[str, ModelFamily]]] = defaultdict(list)
    for plugin in loaded:
        for family in plugin.families:
            for claim in _claims_of(family):
                claims[claim].append((plugin.status.name, family))
    contested = {claim: owners for claim, owners in claims.items() if len(owners) > 1}
    remaining = []
    for plugin in loaded:
        usable = tuple(
            family for family in plugin.families if not any(claim in contested for claim in _claims_of(family))
        )
        if len(usable) < len(plugin.families):
            lost = [claim for family in plugin.families for claim in _claims_of(family) if claim in contested]
            plugin = LoadedPlugin(_conflict_status(plugin.status, lost, contested, usable), usable)
        remaining.append(plugin)
    disputed: dict[str, tuple[str, ...]] = {}
    for owners in contested.values():
        claimants = tuple(sorted({name for name, _family in owners}))
        for _name, family in owners:
            disputed.update(dict.fromkeys(family.model_types, claimants))
    return remaining, disputed


def _claims_of(family: ModelFamily) -> list[tuple[str, str]]:
    names = [("checkpoint", checkpoint.name) for checkpoint in family.checkpoints]
    return [("key", family.key), *(("model type", value) for value in family.model_types), *names]


def _conflict_status(
    status: PluginStatus,
    lost: list[tuple[str, str]],
    contested: Mapping[tuple[str, str], list[tuple[str, ModelFamily]]],
    usable: tuple[ModelFamily, ...],
) -> PluginStatus:
    kind, value = lost[0]
    others = sorted({name for name, _family in contested[lost[0]]} - {status.name}) or [status.name]
    problem = (
        f"{kind} {value!r} is claimed by {' and '.join([status.name, *others])}, so neither is used"
        if others != [status.name]
        else f"two of its families claim {kind} {value!r}"
    )
    where = f" ({status.file})" if status.file else ""
    return replace(status, status="broken", problem=problem + where, families=tuple(family.key for family in usable))

"""Load the plugins that give model families; see `mg_tui.hooks`."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Final, Literal

from mg_tui import hooks
from mg_tui.families import hookspec
from mg_tui.families.contract import CONTRACT_VERSION
from mg_tui.families.family import ModelFamily
from mg_tui.families.validation import declaration_problems

_HOOK: Final = hooks.Hook(
    "mg_model_families",
    hookspec.PROJECT_NAME,
    hookspec,
    ModelFamily,
    "families",
    lambda family: declaration_problems(family),
    CONTRACT_VERSION,
)


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """The status of an installed plugin.

    Attributes:
        name: name of its entry point; used in MODEL_GARDEN_DISABLE_PLUGINS.
        distribution, version: the installed package it comes from, where known.
        module: the module the entry point names.
        file: the module's file, where known.
        status: ok; broken, for the reason in `problem`; disabled by the environment.
        problem: the cause, with the file and line when there is one.
        families: keys of its usable families.
    """

    name: str
    distribution: str | None
    version: str | None
    module: str
    file: str | None
    status: Literal["ok", "broken", "disabled"]
    problem: str | None = None
    families: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin's status and its families; none when it is broken or disabled."""

    status: PluginStatus
    families: tuple[ModelFamily, ...] = ()


def load_plugin(entry: EntryPoint, *, disabled: bool = False) -> LoadedPlugin:
    """Import the plugin and ask it for its families. Never raises for what the plugin does, `sys.exit` included."""
    done = hooks.load(entry, _HOOK, disabled=disabled)
    status = PluginStatus(
        name=done.name,
        distribution=done.distribution,
        version=done.version,
        module=done.module,
        file=done.file,
        status=done.status,
        problem=done.problem,
        families=tuple(family.key for family in done.values),
    )
    return LoadedPlugin(status, done.values)

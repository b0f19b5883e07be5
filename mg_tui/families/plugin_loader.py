"""Load plugins, each imported and called in isolation: an error in one only affects its own status.

Only this module and `hookspec` use pluggy. Each plugin has its own plugin manager, so that one that fails half-way
leaves nothing behind, and the order of plugins has no effect.
"""

import importlib.util
import inspect
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pluggy

from mg_tui.families import hookspec
from mg_tui.families.family import ModelFamily
from mg_tui.families.validation import declaration_problems

HOOK_NAME = "mg_model_families"


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


class _ContractViolation(Exception):
    """The plugin violates the contract; the message states how and where."""


def load_plugin(entry: EntryPoint, *, disabled: bool = False) -> LoadedPlugin:
    """Import the plugin and call its hook. Never raises for errors in the plugin, `sys.exit` included."""
    dist = entry.dist
    facts: dict[str, Any] = {
        "name": entry.name,
        "distribution": dist.name if dist else None,
        "version": dist.version if dist else None,
        "module": entry.module,
        "file": _module_file(entry.module),
    }
    if disabled:
        return LoadedPlugin(PluginStatus(**facts, status="disabled", problem="by MODEL_GARDEN_DISABLE_PLUGINS"))
    try:
        families = _load_families(entry)
    except _ContractViolation as error:
        return LoadedPlugin(PluginStatus(**facts, status="broken", problem=str(error)))
    except (Exception, SystemExit) as error:
        problem = f"{type(error).__name__}: {error} ({_error_location(error, facts['file'])})"
        return LoadedPlugin(PluginStatus(**facts, status="broken", problem=problem))
    return LoadedPlugin(PluginStatus(**facts, status="ok", families=tuple(f.key for f in families)), families)


def _load_families(entry: EntryPoint) -> tuple[ModelFamily, ...]:
    plugin = entry.load()
    manager = pluggy.PluginManager(hookspec.PROJECT_NAME)
    manager.add_hookspecs(hookspec)
    try:
        manager.register(plugin, name=entry.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        # Its message spans several lines: join them.
        raise _ContractViolation(f"{' '.join(str(error).split())} ({_hook_location(plugin)})") from error
    callers = [caller for caller in manager.get_hookcallers(plugin) or () if caller.name == HOOK_NAME]
    if not callers:
        raise _ContractViolation(f"{entry.value} has no {HOOK_NAME} marked @hookimpl ({inspect.getfile(plugin)}:1)")
    (implementation,) = callers[0].get_hookimpls()
    place = _function_location(implementation.function)
    families = _validate_hook_result(callers[0](), place)
    problems = [problem for family in families for problem in declaration_problems(family)]
    if problems:
        raise _ContractViolation("; ".join(problems) + f" ({place})")
    return families


def _validate_hook_result(results: Sequence[Any], place: str) -> tuple[ModelFamily, ...]:
    if not results or results[0] is None:
        raise _ContractViolation(f"{HOOK_NAME} yielded nothing; yield ModelFamily objects ({place})")
    (result,) = results
    if isinstance(result, ModelFamily):
        raise _ContractViolation(f"{HOOK_NAME} returned one ModelFamily: yield it, or return a list ({place})")
    if isinstance(result, str | bytes) or not isinstance(result, Iterable):
        raise _ContractViolation(f"{HOOK_NAME} returned {type(result).__name__}: yield ModelFamily objects ({place})")
    families = tuple(result)
    for item in families:
        if not isinstance(item, ModelFamily):
            raise _ContractViolation(f"{HOOK_NAME} gave {type(item).__name__} where a ModelFamily belongs ({place})")
    if not families:
        raise _ContractViolation(f"{HOOK_NAME} gave no families ({place})")
    return families


def _module_file(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec else None


def _function_location(function: Any) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def _hook_location(plugin: Any) -> str:
    """Where the plugin's first function marked as a hook is, else its file."""
    for value in vars(plugin).values() if isinstance(plugin, ModuleType) else ():
        if hasattr(value, f"{hookspec.PROJECT_NAME}_impl"):
            return _function_location(value)
    return f"{inspect.getfile(plugin)}:1" if isinstance(plugin, ModuleType) else repr(plugin)


def _error_location(error: BaseException, file: str | None) -> str:
    """File and line of the plugin that raised; the innermost line when the traceback has none of the plugin."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    folder = str(Path(file).parent) if file and Path(file).name == "__init__.py" else file
    ours = [frame for frame in frames if folder and frame.filename.startswith(folder)]
    if not ours and file and isinstance(error, ImportError):
        return file
    taking_part = ours or list(frames)
    return f"{taking_part[-1].filename}:{taking_part[-1].lineno}" if taking_part else "no line known"

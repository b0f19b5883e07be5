"""Load the plugins of a hook, each imported and called alone: what one does wrong is its own line and nobody else's.

With the modules that declare hooks, this is all that sees pluggy. A manager of its own for every plugin leaves nothing
behind of one that failed half-way, and makes the order of plugins meaningless.
"""

import importlib.util
import inspect
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Generic, Literal, TypeVar

import pluggy

T = TypeVar("T")

# Set to the names of plugins that shall not be loaded, or to "all".
DISABLE_ENV: Final = "MODEL_GARDEN_DISABLE_PLUGINS"
# The entry-point group of plugins that add metrics; that of model families is in `mg_tui.families.hookspec`.
METRICS_GROUP: Final = "mg_tui.metrics"


@dataclass(frozen=True)
class Hook(Generic[T]):
    """A hook that plugins implement to give values of one type.

    Attributes:
        name: of the function.
        project: pluggy's name for what belongs together; also that of the mark on implementations.
        spec: the module that declares the function.
        kind: the type of the values.
        noun: what the values are called, in the plural.
        problems: what is wrong with a value; empty when nothing is.
        contract: version of what values have to be; a plugin's module may say in `CONTRACT_VERSION` which one it was
            written for. None: there are no versions.
    """

    name: str
    project: str
    spec: ModuleType
    kind: type[T]
    noun: str
    problems: Callable[[T], Sequence[str]]
    contract: int | None = None


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """What became of a plugin.

    Attributes:
        name: name of its entry point.
        distribution, version: the installed package it comes from, where known.
        module: the module the entry point names.
        file: the module's file, where it can be found.
        status: ok; broken, for the reason in `problem`; disabled by the environment.
        problem: the cause, with the file and line when there is one.
        values: what it gave; nothing when it is broken or disabled.
    """

    name: str
    distribution: str | None
    version: str | None
    module: str
    file: str | None
    status: Literal["ok", "broken", "disabled"]
    problem: str | None = None
    values: tuple[T, ...] = ()


class _ContractViolation(Exception):
    """The plugin breaks the contract; the message says how and where."""


def load(entry: EntryPoint, hook: Hook[T], *, disabled: bool = False) -> Loaded[T]:
    """Import the plugin and call its hook. Never raises for what the plugin does, `sys.exit` included."""
    dist = entry.dist
    facts: dict[str, Any] = {
        "name": entry.name,
        "distribution": dist.name if dist else None,
        "version": dist.version if dist else None,
        "module": entry.module,
        "file": _module_file(entry.module),
    }
    if disabled:
        return Loaded(**facts, status="disabled", problem=f"by {DISABLE_ENV}")
    try:
        values = _load_values(entry, hook)
    except _ContractViolation as error:
        return Loaded(**facts, status="broken", problem=str(error))
    except (Exception, SystemExit) as error:
        problem = f"{type(error).__name__}: {error} ({_error_location(error, facts['file'])})"
        return Loaded(**facts, status="broken", problem=problem)
    return Loaded(**facts, status="ok", values=values)


def _load_values(entry: EntryPoint, hook: Hook[T]) -> tuple[T, ...]:
    plugin = entry.load()
    written_for = getattr(plugin, "CONTRACT_VERSION", hook.contract)
    if hook.contract is not None and written_for != hook.contract:
        newer = "Model Garden" if isinstance(written_for, int) and written_for > hook.contract else "the plugin"
        raise _ContractViolation(
            f"written for version {written_for} of the contract, and this is {hook.contract}: update {newer} "
            f"({inspect.getfile(plugin)}:1)"
        )
    manager = pluggy.PluginManager(hook.project)
    manager.add_hookspecs(_hook_alone(hook))
    try:
        manager.register(plugin, name=entry.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        # Its message repeats the plugin and the spec over several lines; the last ones say what is wrong.
        raise _ContractViolation(f"{' '.join(str(error).split())} ({_hook_location(plugin, hook)})") from error
    callers = [caller for caller in manager.get_hookcallers(plugin) or () if caller.name == hook.name]
    if not callers:
        raise _ContractViolation(f"{entry.value} has no {hook.name} marked @hookimpl ({inspect.getfile(plugin)}:1)")
    (implementation,) = callers[0].get_hookimpls()
    place = _function_location(implementation.function)
    values = _validate_result(callers[0](), hook, place)
    problems = [problem for value in values for problem in hook.problems(value)]
    if problems:
        raise _ContractViolation("; ".join(problems) + f" ({place})")
    return values


def _hook_alone(hook: Hook[T]) -> ModuleType:
    """The hook's function in a module of its own: pluggy looks at every name there is, for every plugin."""
    module = ModuleType(hook.spec.__name__)
    setattr(module, hook.name, getattr(hook.spec, hook.name))
    return module


def _validate_result(results: Sequence[Any], hook: Hook[T], place: str) -> tuple[T, ...]:
    kind = hook.kind.__name__
    if not results or results[0] is None:
        raise _ContractViolation(f"{hook.name} yielded nothing; yield {kind} objects ({place})")
    (given,) = results
    if isinstance(given, hook.kind):
        raise _ContractViolation(f"{hook.name} returned one {kind}: yield it, or return a list ({place})")
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise _ContractViolation(f"{hook.name} returned {type(given).__name__}: yield {kind} objects ({place})")
    values = tuple(given)
    for item in values:
        if not isinstance(item, hook.kind):
            raise _ContractViolation(f"{hook.name} gave {type(item).__name__} where a {kind} belongs ({place})")
    if not values:
        raise _ContractViolation(f"{hook.name} gave no {hook.noun} ({place})")
    return values


def _module_file(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec else None


def _function_location(function: Any) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def _hook_location(plugin: Any, hook: Hook[T]) -> str:
    """Where the plugin's first function marked as a hook is, else its file."""
    for value in vars(plugin).values() if isinstance(plugin, ModuleType) else ():
        if hasattr(value, f"{hook.project}_impl"):
            return _function_location(value)
    return f"{inspect.getfile(plugin)}:1" if isinstance(plugin, ModuleType) else repr(plugin)


def _error_location(error: BaseException, file: str | None) -> str:
    """The file and line in the plugin that raised; the innermost line of all when none of its lines took part."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    folder = str(Path(file).parent) if file and Path(file).name == "__init__.py" else file
    ours = [frame for frame in frames if folder and frame.filename.startswith(folder)]
    if not ours and file and isinstance(error, ImportError):
        return file
    taking_part = ours or list(frames)
    return f"{taking_part[-1].filename}:{taking_part[-1].lineno}" if taking_part else "no line known"

"""The draft of a run or an evaluation: values as typed, their validation, and the command for the same.

Every field is one of `mg_tui.core.options`; there is no list of fields here.
"""

from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from mg_tui.core.errors import FieldProblem, SpecError
from mg_tui.core.options import Option, format_flags, options_of, split_list
from mg_tui.core.program import runnable
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import one_line
from mg_tui.tui.formatting import as_typed

PLACEHOLDER: Final = "…"  # stands for a missing value
_UNSET_VALUES: Final = (None, ())


S = TypeVar("S", bound=BaseModel)


class SpecDraft(Generic[S]):
    """Values over defaults of the user over those of the spec. Subclasses name the spec and its command.

    Attributes:
        options: every field, by name, in the spec's order.
        cwd: the folder that relative paths start from.
        missing: the required fields without a value.
        partial_spec: the spec with `PLACEHOLDER` for missing values; None while a value is invalid.
        problems: invalid values, by field.
    """

    spec_class: Any
    command_words: str = ""
    arguments: tuple[str, ...] = ()  # options that the command takes without a flag, in `command_words`

    def __init__(self, defaults: Mapping[str, Any] | None = None, *, cwd: Path | None = None):
        self.options = {opt.name: opt for opt in options_of(self.spec_class)}
        self.cwd = cwd or Path.cwd()
        self.partial_spec: S | None = None
        self.problems: dict[str, FieldProblem] = {}
        self.missing: frozenset[str] = frozenset()
        self._defaults = {name: value for name, value in (defaults or {}).items() if name in self.options}
        self._values: dict[str, Any] = {}
        self._validate()

    @property
    def spec(self) -> S | None:
        """The spec; None while a value is invalid or missing."""
        return None if self.missing else self.partial_spec

    @property
    def advanced_groups(self) -> dict[str, list[Option]]:
        """The advanced fields by group; the basic ones come before them."""
        groups: dict[str, list[Option]] = {}
        for opt in self.options.values():
            if not opt.basic:
                groups.setdefault(opt.group, []).append(opt)
        return groups

    @property
    def basic_options(self) -> list[Option]:
        """The fields that come first."""
        return [opt for opt in self.options.values() if opt.basic]

    def values(self) -> dict[str, Any]:
        """The values that are set, in the form or in garden.toml."""
        return {**self._defaults, **self._values}

    @property
    def typed_values(self) -> dict[str, Any]:
        """The values that are set in the form, without those of garden.toml."""
        return dict(self._values)

    def configured_default(self, name: str) -> Any:
        """The value of a field in garden.toml or the environment; None without one."""
        return self._defaults.get(name)

    def value(self, name: str) -> Any:
        """A field's value, set or default."""
        return self.values().get(name, self.options[name].default)

    def text(self, name: str) -> str:
        """A field's value as text; empty for none."""
        return as_typed(self.value(name))

    def set(self, name: str, value: Any) -> None:
        """Set a field, from text or a value of its type. An empty text unsets an optional or required field."""
        self._store(name, value)
        self._validate()

    def set_all(self, values: Mapping[str, Any]) -> None:
        """Set several fields; unknown names are ignored."""
        for name, value in values.items():
            if name in self.options:
                self._store(name, value)
        self._validate()

    def reset(self, name: str) -> None:
        """Reset a field to the value of garden.toml, or its default."""
        self._values.pop(name, None)
        self._validate()

    def clear(self) -> None:
        """Reset every field."""
        self._values.clear()
        self._validate()

    def problem_if_set(self, name: str, value: Any) -> FieldProblem | None:
        """The problem a field would have with this value; the draft does not change."""
        other = copy(self)
        other._values = dict(self._values)
        other.set(name, value)
        return other.problems.get(name)

    def is_changed(self, name: str) -> bool:
        """Whether a field differs from the default of the spec."""
        opt = self.options[name]
        if name in self.missing:
            return False
        if self.partial_spec is not None:
            return opt.required or bool(getattr(self.partial_spec, name) != opt.default)
        return self.text(name) != as_typed(opt.default)

    def changed_fields(self) -> list[str]:
        """The fields that differ from the defaults of the spec, in its order."""
        return [name for name in self.options if self.is_changed(name)]

    def parse(self, values: Mapping[str, Any]) -> S:
        """The spec of these values; raises SpecError."""
        spec: S = self.spec_class.parse(values)
        return spec

    def preset_values(self) -> dict[str, Any]:
        """The values of a preset: those that differ from the defaults and name no dataset, model or output."""
        if self.partial_spec is None:
            return {}
        preset = {}
        for name in self.changed_fields():
            opt, value = self.options[name], getattr(self.partial_spec, name)
            if (
                opt.kind != "path"
                and not opt.repeats
                and opt.group != "Output"
                and not opt.required
                and value is not None
            ):
                preset[name] = list(value) if isinstance(value, tuple) else value
        return preset

    def command(self, *, lines: bool = False) -> str:
        """The command for the same run here, whatever garden.toml sets; with `lines`, one flag per line.

        A missing value is `…`; while a value is invalid, all of them are.
        """
        words = [runnable(self.command_words), *self._flags()]
        return (" \\\n    " if lines else " ").join(words)

    def inexpressible_flags(self) -> list[str]:
        """Flags of values that garden.toml sets and the draft unsets, which no flag can express."""
        return [
            self.options[name].flag
            for name in self._defaults
            if self.partial_spec is not None and getattr(self.partial_spec, name) in _UNSET_VALUES
        ]

    def _flags(self) -> list[str]:
        if self.partial_spec is None:
            return ["…"]
        values = {name: getattr(self.partial_spec, name) for name in self.options if self._needs_flag(name)}
        missing = [
            f"{self.options[name].flag} …"
            for name in self.options
            if name in self.missing and name not in self.arguments
        ]
        return [*missing, *format_flags(self.partial_spec, values)]

    def _needs_flag(self, name: str) -> bool:
        is_set = name not in (*self.missing, *self.arguments) and getattr(self.partial_spec, name) not in _UNSET_VALUES
        return is_set and (self.is_changed(name) or name in self._defaults)

    def _store(self, name: str, value: Any) -> None:
        opt = self.options[name]
        if opt.kind == "list" and isinstance(value, str):
            value = tuple(split_list(value))
        if isinstance(value, str) and value.strip() == "" and (opt.optional or opt.required):
            value = None
        self._values[name] = value
        if as_typed(value) == as_typed(self._defaults.get(name, opt.default)):
            del self._values[name]

    def _validate(self) -> None:
        values = self.values()
        required = (name for name, opt in self.options.items() if opt.required)
        self.missing = frozenset(name for name in required if values.get(name) is None)
        try:
            self.partial_spec = self.parse({**values, **dict.fromkeys(self.missing, PLACEHOLDER)})
            self.problems = {}
        except SpecError as error:
            self.partial_spec, self.problems = None, {problem.field: problem for problem in error.problems}


class RunDraft(SpecDraft[TrainingSpec]):
    """The draft of a run, over the defaults of garden.toml."""

    spec_class = TrainingSpec
    command_words = "model-garden train-vision"


def format_problem(problem: FieldProblem) -> str:
    """A problem on one line."""
    return one_line(str(problem), limit=600)

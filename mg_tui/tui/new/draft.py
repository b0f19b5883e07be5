"""A run that is being put together: values as they were typed, what the spec says of them, and the command that asks
for the same.

Every field is one of `mg_tui.core.options`; no list of fields is kept here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import FieldProblem, SpecError
from mg_tui.core.options import Option, format_flags, options_of
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import one_line
from mg_tui.tui.formatting import as_typed

PLACEHOLDER: Final = "…"  # where a value is missing
_UNSET_VALUES: Final = (None, ())


class RunDraft:
    """Values over the defaults of garden.toml over those of the spec.

    Attributes:
        options: every field, by name, in the spec's order.
        cwd: the folder that relative paths are seen from.
        missing: the required fields that have no value yet.
        outline: the run as far as it is known, with `PLACEHOLDER` for what is missing; None while something is wrong.
        problems: what is wrong, by field.
    """

    def __init__(self, defaults: Mapping[str, Any] | None = None, *, cwd: Path | None = None):
        self.options = {opt.name: opt for opt in options_of(TrainingSpec)}
        self.cwd = cwd or Path.cwd()
        self.partial_spec: TrainingSpec | None = None
        self.problems: dict[str, FieldProblem] = {}
        self.missing: frozenset[str] = frozenset()
        self._defaults = {name: value for name, value in (defaults or {}).items() if name in self.options}
        self._values: dict[str, Any] = {}
        self._validate()

    @property
    def spec(self) -> TrainingSpec | None:
        """The run as asked for; None while something is wrong or missing."""
        return None if self.missing else self.partial_spec

    @property
    def advanced_groups(self) -> dict[str, list[Option]]:
        """The advanced fields by group; the basic ones come before them."""
        found: dict[str, list[Option]] = {}
        for opt in self.options.values():
            if not opt.basic:
                found.setdefault(opt.group, []).append(opt)
        return found

    @property
    def basic_options(self) -> list[Option]:
        """The fields that come first."""
        return [opt for opt in self.options.values() if opt.basic]

    def values(self) -> dict[str, Any]:
        """What was set, here or in garden.toml."""
        return {**self._defaults, **self._values}

    def configured_default(self, name: str) -> Any:
        """What garden.toml or the environment says of a field; None when nothing."""
        return self._defaults.get(name)

    def value(self, name: str) -> Any:
        """A field's value as it stands, set or not."""
        return self.values().get(name, self.options[name].default)

    def text(self, name: str) -> str:
        """A field's value as it is written into the form; empty for nothing."""
        return as_typed(self.value(name))

    def set(self, name: str, value: Any) -> None:
        """Give a field a value, typed or of its own type. An empty text is no value where a field can be left out."""
        self._store(name, value)
        self._validate()

    def set_all(self, values: Mapping[str, Any]) -> None:
        """Give several fields values; names that are no field are ignored."""
        for name, value in values.items():
            if name in self.options:
                self._store(name, value)
        self._validate()

    def reset(self, name: str) -> None:
        """Back to what garden.toml says, or the default."""
        self._values.pop(name, None)
        self._validate()

    def clear(self) -> None:
        """Forget everything that was set here."""
        self._values.clear()
        self._validate()

    def problem_if_set(self, name: str, value: Any) -> FieldProblem | None:
        """What would be wrong with a field if it had this value; the draft stays as it is."""
        other = RunDraft.__new__(RunDraft)
        other.options, other.cwd, other._defaults, other._values = (
            self.options,
            self.cwd,
            self._defaults,
            dict(self._values),
        )
        other.set(name, value)
        return other.problems.get(name)

    def is_changed(self, name: str) -> bool:
        """Whether a field has another value than the spec gives it by itself."""
        opt = self.options[name]
        if name in self.missing:
            return False
        if self.partial_spec is not None:
            return opt.required or bool(getattr(self.partial_spec, name) != opt.default)
        return self.text(name) != as_typed(opt.default)

    def changed_fields(self) -> list[str]:
        """The fields that differ from the defaults of the spec, in its order."""
        return [name for name in self.options if self.is_changed(name)]

    def preset_values(self) -> dict[str, Any]:
        """What a preset keeps of this: what differs and belongs to no one dataset, model or result."""
        if self.partial_spec is None:
            return {}
        kept = {}
        for name in self.changed_fields():
            opt, value = self.options[name], getattr(self.partial_spec, name)
            if opt.kind != "path" and opt.group != "Output" and not opt.required and value is not None:
                kept[name] = list(value) if isinstance(value, tuple) else value
        return kept

    def command(self, *, lines: bool = False) -> str:
        """The command that asks for the same, also where garden.toml says something else; on lines of its own.

        What is missing stands as `…`, and so does everything while something is wrong.
        """
        words = ["model-garden train-vision", *self._flags()]
        return (" \\\n    " if lines else " ").join(words)

    def inexpressible_flags(self) -> list[str]:
        """Flags that the command lacks: what garden.toml sets, is taken back here, and no flag can take back."""
        return [
            self.options[name].flag
            for name in self._defaults
            if self.partial_spec is not None and getattr(self.partial_spec, name) in _UNSET_VALUES
        ]

    def _flags(self) -> list[str]:
        if self.partial_spec is None:
            return ["…"]
        values = {name: getattr(self.partial_spec, name) for name in self.options if self._needs_flag(name)}
        blank = [f"{self.options[name].flag} …" for name in self.options if name in self.missing]
        return [*blank, *format_flags(self.partial_spec, values)]

    def _needs_flag(self, name: str) -> bool:
        known = name not in self.missing and getattr(self.partial_spec, name) not in _UNSET_VALUES
        return known and (self.is_changed(name) or name in self._defaults)

    def _store(self, name: str, value: Any) -> None:
        opt = self.options[name]
        if opt.kind == "list" and isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, str) and value.strip() == "" and (opt.optional or opt.required):
            value = None
        self._values[name] = value
        if as_typed(value) == as_typed(self._defaults.get(name, opt.default)):
            del self._values[name]

    def _validate(self) -> None:
        given = self.values()
        required = (name for name, opt in self.options.items() if opt.required)
        self.missing = frozenset(name for name in required if given.get(name) is None)
        try:
            self.partial_spec = TrainingSpec.parse({**given, **dict.fromkeys(self.missing, PLACEHOLDER)})
            self.problems = {}
        except SpecError as error:
            self.partial_spec, self.problems = None, {problem.field: problem for problem in error.problems}


def format_problem(problem: FieldProblem) -> str:
    """A problem in the words of every face, on one line."""
    return one_line(str(problem), limit=600)

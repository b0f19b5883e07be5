"""How a field of a spec describes itself, and how front ends read that description.

A field is declared once, with `option(...)`; `options_of(Model)` gives the flags, the form, the documentation table and
the error messages everything they need, so that no second list of the same fields exists anywhere.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field, JsonValue, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mg_tui.core.errors import FieldProblem, SpecError
from mg_tui.core.text import did_you_mean

OptionKind = Literal["text", "path", "integer", "number", "switch", "choice", "list"]


@dataclass(frozen=True, slots=True)
class Option:
    """One field as front ends see it. `default` is None for a required field; `choices` only for kinds choice and list.

    `known` names a list of suggestions: the "models" or "datasets" known on this machine. `repeats` names the field
    whose flag sets this one, too, where it is given more than once.
    `alias` is its name in the guide's API requests, which they may use as well.
    `synonyms` are other words for the field, each with the value that it stands for (None: the field itself): `bf16` is
    the dtype `bfloat16`.
    `off` is the other word of a switch: `--private` beside `--public`.
    """

    name: str
    title: str
    help: str
    group: str
    kind: OptionKind
    required: bool
    optional: bool
    default: Any
    unit: str | None
    basic: bool
    choices: tuple[str, ...]
    accepted: str
    known: str | None = None
    synonyms: Mapping[str, str | None] = field(default_factory=dict)
    repeats: str | None = None
    alias: str | None = None
    off: str | None = None

    @property
    def flag(self) -> str:
        """The flag of the command line, e.g. `--learning-rate`."""
        return "--" + (self.repeats or self.name).replace("_", "-")

    @property
    def off_flag(self) -> str:
        """The flag that turns a switch off, e.g. `--no-packing`."""
        return f"--{self.off}" if self.off else f"--no-{self.flag[2:]}"


def option(
    default: Any = ...,
    *,
    title: str,
    help: str,
    group: str,
    unit: str | None = None,
    basic: bool = False,
    path: bool = False,
    example: str | None = None,
    known: str | None = None,
    synonyms: str = "",
    repeats: str | None = None,
    alias: str | None = None,
    off: str | None = None,
    **bounds: Any,
) -> Any:
    """Declare a field: its default (required without one), its texts, and pydantic bounds (`gt`, `le`, ...).

    `help` is one sentence; `unit` is a noun ("tokens"); `basic` puts the field on the first page of a form; `path`
    marks a text that names a file or folder; `example` is shown in errors about a bad value; `known`, `repeats`,
    `alias` and `off` are those of `Option`; `synonyms` are the words for it in other tools, with commas, as `word` or
    `word=value`.
    """
    extra: dict[str, JsonValue] = {
        "group": group,
        "unit": unit,
        "basic": basic,
        "path": path,
        "example": example,
        "known": known,
        "synonyms": synonyms,
        "repeats": repeats,
        "alias": alias,
        "off": off,
    }
    return Field(default, title=title, description=help, json_schema_extra=extra, validate_default=True, **bounds)


def split_names(value: Any) -> Any:
    """Names from a text or from texts, each of which may have several separated by commas; else `value` itself."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        return items
    return tuple(name for item in items for name in split_list(str(item)))


def options_of(model: type[BaseModel]) -> tuple[Option, ...]:
    """Every field of `model` declared with `option`, in the order of declaration."""
    return tuple(_option_of(name, info) for name, info in model.model_fields.items() if info.json_schema_extra)


def _option_of(name: str, info: FieldInfo) -> Option:
    extra: dict[str, Any] = dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}
    inner, optional = _strip_none(info.annotation)
    kind, choices = _kind(inner, path=bool(extra.get("path")))
    required = info.is_required()
    return Option(
        name=name,
        title=info.title or name,
        help=info.description or "",
        group=str(extra["group"]),
        kind=kind,
        required=required,
        optional=optional,
        default=None if required else info.get_default(call_default_factory=True),
        unit=extra.get("unit"),
        basic=bool(extra.get("basic")),
        choices=choices,
        accepted=_describe_accepted(
            kind, choices, info, optional=optional, unit=extra.get("unit"), example=extra.get("example")
        ),
        known=extra.get("known"),
        synonyms=_parse_synonyms(str(extra.get("synonyms") or "")),
        repeats=extra.get("repeats"),
        alias=extra.get("alias"),
        off=extra.get("off"),
    )


def _parse_synonyms(text: str) -> dict[str, str | None]:
    entries = (entry.strip().partition("=") for entry in text.split(",") if entry.strip())
    return {word: value or None for word, _, value in entries}


def _strip_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        if len(members) == 1:
            return members[0], True
        if all(get_origin(member) is Literal for member in members):  # Literal["auto"] | Literal["jsonl", "csv"]
            return Literal[tuple(choice for member in members for choice in get_args(member))], False
    return annotation, False


def _kind(annotation: Any, *, path: bool) -> tuple[OptionKind, tuple[str, ...]]:
    if get_origin(annotation) is Literal:
        return "choice", tuple(str(choice) for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        (item, _ellipsis) = get_args(annotation)
        return "list", tuple(str(choice) for choice in get_args(item))
    if annotation is bool:
        return "switch", ()
    if annotation is int:
        return "integer", ()
    if annotation is float:
        return "number", ()
    return ("path" if path else "text"), ()


def _describe_accepted(
    kind: OptionKind,
    choices: tuple[str, ...],
    info: FieldInfo,
    *,
    optional: bool,
    unit: str | None,
    example: str | None,
) -> str:
    """What would be accepted, as the end of a sentence: "give a number greater than 0 (e.g. 2e-5)"."""
    noun = {
        "text": "give text",
        "path": "give a path",
        "integer": "give a whole number",
        "number": "give a number",
        "switch": "give true or false",
        "choice": "choose one of " + ", ".join(choices),
        "list": "choose any of " + ", ".join(choices) if choices else "give text, separated by commas",
    }[kind]
    if unit and kind in ("integer", "number"):
        noun += f" of {unit}"
    words = {"gt": "greater than {}", "ge": "at least {}", "lt": "less than {}", "le": "at most {}"}
    bounds = [
        text.format(_format_number(getattr(bound, name)))
        for bound in info.metadata
        for name, text in words.items()
        if getattr(bound, name, None) is not None
    ]
    if bounds:
        noun += " " + " and ".join(bounds)
    if optional:
        noun += ", or omit it"
    return noun + (f" (e.g. {example})" if example else "")


def _format_number(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def format_flags(spec: BaseModel, changed: Mapping[str, Any]) -> list[str]:
    """The flags that set the changed fields of `spec`, each with its value, quoted for a shell."""
    words = []
    for opt in options_of(type(spec)):
        if opt.name not in changed:
            continue
        value = changed[opt.name]
        if opt.kind == "switch":
            words.append(opt.flag if value else opt.off_flag)
        else:
            items = value if isinstance(value, list | tuple) else [value]
            words += [f"{opt.flag} {shlex.quote(str(item))}" for item in items]
    return words


def split_list(text: str) -> list[str]:
    """The items of a list typed as one text: separated by commas, except those inside the braces of an object."""
    items, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if character == "," and depth <= 0:
            items.append(text[start:index])
            start = index + 1
    return [item.strip() for item in (*items, text[start:]) if item.strip()]


def spec_error_from(
    model: type[BaseModel], error: ValidationError, *, where: str | Mapping[str, str] | None = None
) -> SpecError:
    """Pydantic's errors as a SpecError, with the same sentence in every front end for the same bad value.

    `where` is the file or variable of all values, or a mapping from fields to theirs.
    """
    known = {opt.name: opt for opt in options_of(model)}
    problems: list[FieldProblem] = []
    for details in error.errors():
        problem = _field_problem(details, known)
        if problem not in problems:  # pydantic reports every member of a union
            problems.append(problem)
    places = where if isinstance(where, Mapping) else dict.fromkeys((problem.field for problem in problems), where)
    return SpecError([replace(problem, where=places.get(problem.field)) for problem in problems])


def _field_problem(details: ErrorDetails, known: dict[str, Option]) -> FieldProblem:
    name = str(details["loc"][0]) if details["loc"] else "spec"
    value = details.get("input")
    if details["type"] == "missing":
        return FieldProblem(name, None, known[name].accepted if name in known else "required")
    if details["type"] == "extra_forbidden":
        return FieldProblem(name, value, f"unknown option{suggest_option(name, known.values())}")
    if details["type"] == "value_error":
        # Raised by our own validators, whose messages already name the bad value and what would be accepted.
        message = details["msg"].removeprefix("Value error, ")
        field, _, rest = message.partition(": ")
        if field in known and rest:
            return FieldProblem(field, details["input"].get(field) if isinstance(value, dict) else value, rest)
        return FieldProblem(name, value, message)
    if name in known:
        return FieldProblem(name, value, known[name].accepted + _suggest_choice(known[name], value))
    return FieldProblem(name, value, details["msg"])


def find_by_synonym(word: str, options: Iterable[Option]) -> tuple[Option, str | None] | None:
    """The field that a word of another tool stands for, and the value, if it stands for one; None for other words.

    Case, a leading `--` and the difference between `-`, `_` and a blank do not matter.
    """
    wanted = _simplify(word)
    for opt in options:
        for synonym, value in opt.synonyms.items():
            if _simplify(synonym) == wanted:
                return opt, value
    return None


def suggest_option(word: str, options: Iterable[Option], *, as_flag: bool = False) -> str:
    """`; did you mean X?` for an unknown field or flag: by synonym, else by likeness; empty when nothing is near."""
    listed = list(options)
    found = find_by_synonym(word, listed)
    if found is None:
        names = [opt.flag if as_flag else opt.name for opt in listed]
        return did_you_mean(word.replace("_", "-") if as_flag else word, names)
    opt, value = found
    if opt.kind == "switch" and as_flag:
        return f"; did you mean {opt.off_flag if value == 'off' else opt.flag}?"
    name, between = (opt.flag, " ") if as_flag else (opt.name, " = ")
    return f"; did you mean {name}{between + value if value else ''}?"


def _suggest_choice(opt: Option, value: Any) -> str:
    """`; did you mean bfloat16?` for a choice that another tool calls `bf16`, or one with a slip of the pen."""
    if not opt.choices:
        return ""
    word = str(value)
    meant = next((choice for synonym, choice in opt.synonyms.items() if _simplify(synonym) == _simplify(word)), None)
    return f"; did you mean {meant}?" if meant in opt.choices else did_you_mean(word, opt.choices)


def _simplify(word: str) -> str:
    return word.casefold().lstrip("-").replace("-", " ").replace("_", " ").strip()

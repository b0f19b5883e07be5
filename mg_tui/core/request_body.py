"""Fields of a spec in the body of an API request: by their own names or the guide's, on one level or in groups.

The guide writes hyperparameters into an object of their own and calls some fields otherwise than the command line does.
Both are read here, and errors point at the place in the body that the caller wrote.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from mg_tui.core.errors import FieldProblem, SpecError
from mg_tui.core.options import options_of

GROUP: Final = "hyperparameters"
MODEL_TYPE: Final = "model_type"
MODEL_TYPES: Final = ("vision-language",)


@dataclass(frozen=True, slots=True)
class SpecBody:
    """The values of a spec from a body, by field, and where each is in it, as a JSON pointer."""

    values: Mapping[str, Any]
    pointers: Mapping[str, str]


def read_spec_body(model: type[BaseModel], body: Mapping[str, Any], *, model_type: bool = False) -> SpecBody:
    """The values that a body gives to the fields of `model`; unknown names stay, for the model to refuse.

    Args:
        model: the spec's class.
        body: the request's JSON object.
        model_type: whether `model_type` is accepted beside the fields, as the guide writes it.

    Raises:
        SpecError: a field is given twice, hyperparameters are no object, or the model type is another one.
    """
    aliases = {opt.alias: opt.name for opt in options_of(model) if opt.alias}
    values: dict[str, Any] = {}
    pointers: dict[str, str] = {}
    problems: list[FieldProblem] = []
    for place, name, value in _entries(body, problems):
        if name == MODEL_TYPE and model_type and not place.startswith(f"/{GROUP}/"):
            if value not in MODEL_TYPES:
                problems.append(FieldProblem(name, value, "choose one of " + ", ".join(MODEL_TYPES)))
            continue
        field = aliases.get(name, name)
        if field in values:
            problems.append(FieldProblem(name, value, f"given twice: {pointers[field]} is the same option"))
            continue
        values[field], pointers[field] = value, place
    if problems:
        raise SpecError(problems)
    return SpecBody(values, pointers)


def _entries(body: Mapping[str, Any], problems: list[FieldProblem]) -> list[tuple[str, str, Any]]:
    entries = []
    for name, value in body.items():
        if name != GROUP:
            entries.append((f"/{_escape(name)}", name, value))
        elif isinstance(value, Mapping):
            entries += [(f"/{GROUP}/{_escape(inner)}", inner, given) for inner, given in value.items()]
        elif value is not None:
            problems.append(FieldProblem(name, value, "give an object of options"))
    return entries


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")

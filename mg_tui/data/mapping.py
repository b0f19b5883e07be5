"""From a row's fields to an Example: which field is which, and what each may hold."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Literal

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, Part, TextPart
from mg_tui.data.jsonl import Row, kind_of
from mg_tui.data.problems import RowProblem, plain, shown
from mg_tui.data.weights import weight_of

Purpose = Literal["text", "image", "response"]

# What other people call these fields, likeliest first.
_ALSO_CALLED: Final[Mapping[Purpose, tuple[str, ...]]] = {
    "text": ("question", "prompt", "instruction", "query", "input", "text"),
    "image": ("image", "img_path", "image_path", "img", "path", "file_name", "filename", "images", "picture", "url"),
    "response": ("answer", "caption", "output", "response", "label", "target", "description", "completion"),
}
_FIELDS_SHOWN: Final = 12
_HALF_PAIR: Final = "has half of a surrogate pair, which is no character"
_HALF_PAIR_HINT: Final = "remove escapes like \\ud83d that stand alone"


@dataclass(frozen=True, slots=True)
class FieldMap:
    """Which field of a row holds the question, the image or images, and the answer; and its weight, if it has one."""

    text: str = "text"
    image: str = "image"
    response: str = "response"
    weight: str | None = None

    def require_distinct(self) -> None:
        """Raises DataError when two purposes name the same field: the answer would be part of the question."""
        if len({self.text, self.image, self.response}) < 3:
            raise DataError(
                "text, image and response have to be three different fields",
                why=f"text is {shown(self.text)}, image {shown(self.image)}, response {shown(self.response)}",
                hint="give each its own with --text-field, --image-field and --response-field",
            )


@dataclass(frozen=True, slots=True)
class Draft:
    """A row whose fields are right and whose images have not been looked at. `offset`, `length`: its bytes."""

    row: int
    text: str
    response: str
    images: tuple[str, ...]
    offset: int
    length: int
    weight: float = 1.0

    def example(self, images: Sequence[ImageRef], system_prompt: str | None) -> Example:
        """The conversation: the system's words if any, the pictures and the question, the answer."""
        asked: tuple[Part, ...] = (*(ImagePart(image) for image in images), TextPart(self.text))
        turns = (Message("user", asked), Message("assistant", (TextPart(self.response),)))
        system = (Message("system", (TextPart(system_prompt),)),) if system_prompt else ()
        return Example(self.row, (*system, *turns), self.weight)


def map_row(row: Row, fields: FieldMap) -> Draft | list[RowProblem]:
    """The row's question, images and answer, or every problem with its fields (their `raw` is left empty)."""
    values = row.values
    if values is None:
        return [row.problem] if row.problem is not None else []
    problems: list[RowProblem] = []
    text = _text(row.number, values, "text", fields.text, problems)
    images = _images(row.number, values, fields.image, problems)
    response = _text(row.number, values, "response", fields.response, problems)
    weight = weight_of(row.number, values, fields.weight)
    if isinstance(weight, RowProblem):
        problems.append(weight)
    if text is None or images is None or response is None or isinstance(weight, RowProblem):
        return problems
    return Draft(row.number, text, response, images, row.offset, row.length, weight)


def _text(
    number: int, values: Mapping[str, Any], purpose: Purpose, name: str, problems: list[RowProblem]
) -> str | None:
    if name not in values:
        problems.append(_missing(number, values, purpose, name))
        return None
    value = values[name]
    what = hint = None
    if not isinstance(value, str):
        what = f"is {kind_of(value)}, and has to be a text"
        if isinstance(value, int | float):
            hint = "write numbers in quotes where they are answers"
    elif not value.strip():
        what = "is empty"
    elif _half_pair(value):
        what, hint = _HALF_PAIR, _HALF_PAIR_HINT
    if what is None:
        return str(value)
    problems.append(RowProblem(number, name, what, hint))
    return None


def _images(number: int, values: Mapping[str, Any], name: str, problems: list[RowProblem]) -> tuple[str, ...] | None:
    if name not in values:
        problems.append(_missing(number, values, "image", name))
        return None
    value = values[name]
    given = [] if value is None else value if isinstance(value, list) else [value]
    before = len(problems)
    for index, item in enumerate(given, 1):
        which = f"item {index} " if isinstance(value, list) else ""
        if not isinstance(item, str):
            what = f"{which}is {kind_of(item)}, and has to be a path or an address"
            problems.append(RowProblem(number, name, what, "use null or [] for a row without a picture"))
        elif not item.strip():
            problems.append(RowProblem(number, name, f"{which}is empty", "use null or [] for a row without a picture"))
        elif _half_pair(item):
            problems.append(RowProblem(number, name, f"{which}{_HALF_PAIR}", _HALF_PAIR_HINT))
    return tuple(given) if len(problems) == before else None


def _missing(number: int, values: Mapping[str, Any], purpose: Purpose, name: str) -> RowProblem:
    names = list(values)
    listed = ", ".join(plain(field, limit=40) for field in names[:_FIELDS_SHOWN])
    more = f" and {len(names) - _FIELDS_SHOWN} more" if len(names) > _FIELDS_SHOWN else ""
    what = f"is not there; the row has {listed}{more}" if names else "is not there; the row has no fields"
    flag = f"--{purpose}-field"
    guess = _guess(purpose, name, names)
    hint = f"name the field with {flag}" + (f", e.g. {flag} {shlex.quote(plain(guess, limit=40))}" if guess else "")
    return RowProblem(number, name, what, hint)


def _guess(purpose: Purpose, name: str, names: list[str]) -> str | None:
    known = [field for field in _ALSO_CALLED[purpose] if field in names]
    return next(iter(known or get_close_matches(name, names, n=1)), None)


def _half_pair(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False

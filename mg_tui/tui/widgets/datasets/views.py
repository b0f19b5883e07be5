"""Rows as the dashboard shows them: made in the thread that reads, small, and safe to show.

How a row becomes a conversation is the data room's business; here it is only cut to what a screen can hold.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.text import one_line, printable
from mg_tui.tui.widgets.picturebox import Shown

if TYPE_CHECKING:
    from mg_tui.core.example import Example
    from mg_tui.data.rows import Row
    from mg_tui.tui.widgets.datasets.opened import Opened

CELL: Final = 240  # characters of a text in the table
SHOWN: Final = 6_000  # characters of a field beside its picture


@dataclass(frozen=True, slots=True)
class RowView:
    """A row in the table. `blank`: the line holds no row; `coming`: it has not been read yet."""

    number: int
    question: str = ""
    answer: str = ""
    pictures: int = 0
    problem: str = ""
    blank: bool = False
    coming: bool = False


@dataclass(frozen=True, slots=True)
class FieldView:
    """A field of a row: its name, what it is used for ("question", "pictures", ...; empty for nothing), its text."""

    name: str
    purpose: str
    text: str


@dataclass(frozen=True, slots=True)
class RowDetail:
    """A row in full, as far as a screen goes.

    Attributes:
        turns: (role, text, number of pictures) of the conversation; empty when the row makes none.
        pictures: found or not, in the order of the conversation.
        problems: why it cannot be trained on.
        messages: the conversation as the engine takes it; None when it cannot be asked for.
    """

    number: int
    fields: tuple[FieldView, ...] = ()
    turns: tuple[tuple[str, str, int], ...] = ()
    pictures: tuple[Shown, ...] = ()
    problems: tuple[str, ...] = ()
    messages: tuple[Mapping[str, Any], ...] | None = field(default=None, hash=False)
    question: str = ""
    answer: str = ""


def view_of(row: "Row", opened: "Opened") -> RowView:
    """A row in the table."""
    example, problems = opened.conversation(row)
    if example is None:
        text = opened.raw_text(row, CELL * 2)
        said = problems[0] if problems else "is no conversation"
        return RowView(row.number, one_line(text, limit=CELL), problem=one_line(said, limit=CELL))
    asked, answered = sides(example)
    return RowView(
        row.number,
        one_line(asked[: CELL * 2], limit=CELL),
        one_line(answered[: CELL * 2], limit=CELL),
        pictures=len(example.images),
    )


def sides(example: "Example") -> tuple[str, str]:
    """The first question and the last answer."""
    asked = next((message.text for message in example.messages if message.role == "user"), "")
    return asked, example.response


def detail_of(row: "Row", opened: "Opened") -> RowDetail:
    """A row in full; looks for its pictures and reads their headers."""
    example, problems = opened.conversation(row)
    fields = _fields(row, opened)
    if example is None:
        return RowDetail(row.number, fields, problems=tuple(problems))
    found = opened.find_pictures(example)
    turns = tuple(
        (message.role, printable(message.text.strip(), limit=SHOWN), _pictures(message)) for message in example.messages
    )
    asked, answered = sides(example)
    said = tuple(f"picture {index}: {shown.instead}" for index, shown in enumerate(found, 1) if shown.path is None)
    return RowDetail(
        row.number,
        fields,
        turns,
        tuple(found),
        said,
        _messages(example, found),
        question=asked,
        answer=answered,
    )


def _pictures(message: Any) -> int:
    from mg_tui.core.example import ImagePart

    return sum(isinstance(part, ImagePart) for part in message.parts)


def _messages(example: "Example", found: Sequence[Shown]) -> tuple[Mapping[str, Any], ...] | None:
    if any(shown.path is None for shown in found):
        return None
    paths = iter(str(shown.path) for shown in found)
    return tuple(
        {"role": message.role, "learn": message.learn, "parts": [_part(part, paths) for part in message.parts]}
        for message in example.messages
    )


def _part(part: Any, paths: Iterator[str]) -> dict[str, str]:
    from mg_tui.core.example import TextPart

    return {"text": part.text} if isinstance(part, TextPart) else {"image": next(paths)}


def _fields(row: "Row", opened: "Opened") -> tuple[FieldView, ...]:
    if row.values is None:
        return (FieldView("line", "", printable(opened.raw_text(row, SHOWN), limit=SHOWN)),)
    purposes = opened.purposes()
    return tuple(
        FieldView(one_line(str(name), limit=80), purposes.get(name, ""), text_of(value))
        for name, value in row.values.items()
    )


def text_of(value: object, limit: int = SHOWN) -> str:
    """A field's value as text, however large it is: pictures by their size, the rest as JSON."""
    if isinstance(value, str):
        whole = printable(value, limit=limit)
        return whole if len(value) <= limit else f"{whole} ({len(value):,} characters)"
    try:
        text = json.dumps(_plain(value), ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = f"({type(value).__name__})"
    return printable(text, limit=limit)


def _plain(value: object, depth: int = 0) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"({len(value):,} bytes)"
    if depth > 6:
        return "…"
    if isinstance(value, dict):
        return {str(key): _plain(inner, depth + 1) for key, inner in list(value.items())[:64]}
    if isinstance(value, list | tuple):
        return [_plain(inner, depth + 1) for inner in list(value)[:64]]
    return value[:SHOWN] if isinstance(value, str) else value


def shown_picture(path: Path) -> Shown:
    """A picture with its size and format as caption, or the reason why it cannot be shown."""
    from mg_tui.data.images import ImageError, probe_image

    try:
        info = probe_image(path)
    except ImageError as error:
        return Shown(None, instead=f"{one_line(path.name, limit=80)} {error.reason}")
    return Shown(path, f"{info.width}x{info.height} {info.format}  {one_line(path.name, limit=80)}")

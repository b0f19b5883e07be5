"""Rows as the dashboard shows them: made in the thread that reads, small, and safe to show.

How a row becomes a conversation is the data room's business; here it is only cut to what a screen can hold.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.text import one_line, printable
from mg_tui.tui.widgets.image_box import ImageView

if TYPE_CHECKING:
    from mg_tui.core.example import Example
    from mg_tui.data.rows import Row
    from mg_tui.tui.datasets.open_dataset import OpenDataset

CELL_CHARS: Final = 240  # characters of a text in the table
FIELD_CHARS: Final = 6_000  # characters of a field beside its image


@dataclass(frozen=True, slots=True)
class RowView:
    """A row in the table. `blank`: the line holds no row; `coming`: it has not been read yet."""

    number: int
    question: str = ""
    answer: str = ""
    images: int = 0
    problem: str = ""
    blank: bool = False
    loading: bool = False


@dataclass(frozen=True, slots=True)
class FieldView:
    """A field of a row: its name, what it is used for ("question", "images", ...; empty for nothing), its text."""

    name: str
    purpose: str
    text: str


@dataclass(frozen=True, slots=True)
class RowDetail:
    """A row in full, as far as a screen goes.

    Attributes:
        turns: (role, text, number of images) of the conversation; empty when the row makes none.
        images: found or not, in the order of the conversation.
        problems: why it cannot be trained on.
        messages: the conversation as the engine takes it; None when it cannot be asked for.
    """

    number: int
    fields: tuple[FieldView, ...] = ()
    turns: tuple[tuple[str, str, int], ...] = ()
    images: tuple[ImageView, ...] = ()
    problems: tuple[str, ...] = ()
    messages: tuple[Mapping[str, Any], ...] | None = field(default=None, hash=False)
    question: str = ""
    answer: str = ""


def build_row_view(row: "Row", opened: "OpenDataset") -> RowView:
    """A row in the table."""
    example, problems = opened.to_example(row)
    if example is None:
        text = opened.raw_text(row, CELL_CHARS * 2)
        said = problems[0] if problems else "is no conversation"
        return RowView(row.number, one_line(text, limit=CELL_CHARS), problem=one_line(said, limit=CELL_CHARS))
    asked, answered = question_and_answer(example)
    return RowView(
        row.number,
        one_line(asked[: CELL_CHARS * 2], limit=CELL_CHARS),
        one_line(answered[: CELL_CHARS * 2], limit=CELL_CHARS),
        images=len(example.images),
    )


def question_and_answer(example: "Example") -> tuple[str, str]:
    """The first question and the last answer."""
    asked = next((message.text for message in example.messages if message.role == "user"), "")
    return asked, example.response


def build_row_detail(row: "Row", opened: "OpenDataset") -> RowDetail:
    """A row in full; looks for its images and reads their headers."""
    example, problems = opened.to_example(row)
    fields = _field_views(row, opened)
    if example is None:
        return RowDetail(row.number, fields, problems=tuple(problems))
    found = opened.find_images(example)
    turns = tuple(
        (message.role, printable(message.text.strip(), limit=FIELD_CHARS), _count_images(message))
        for message in example.messages
    )
    asked, answered = question_and_answer(example)
    said = tuple(f"image {index}: {shown.placeholder}" for index, shown in enumerate(found, 1) if shown.path is None)
    return RowDetail(
        row.number,
        fields,
        turns,
        tuple(found),
        said,
        _message_records(example, found),
        question=asked,
        answer=answered,
    )


def _count_images(message: Any) -> int:
    from mg_tui.core.example import ImagePart

    return sum(isinstance(part, ImagePart) for part in message.parts)


def _message_records(example: "Example", found: Sequence[ImageView]) -> tuple[Mapping[str, Any], ...] | None:
    if any(shown.path is None for shown in found):
        return None
    paths = iter(str(shown.path) for shown in found)
    return tuple(
        {
            "role": message.role,
            "learn": message.supervised,
            "parts": [_part_record(part, paths) for part in message.parts],
        }
        for message in example.messages
    )


def _part_record(part: Any, paths: Iterator[str]) -> dict[str, str]:
    from mg_tui.core.example import TextPart

    return {"text": part.text} if isinstance(part, TextPart) else {"image": next(paths)}


def _field_views(row: "Row", opened: "OpenDataset") -> tuple[FieldView, ...]:
    if row.values is None:
        return (FieldView("line", "", printable(opened.raw_text(row, FIELD_CHARS), limit=FIELD_CHARS)),)
    purposes = opened.field_purposes()
    return tuple(
        FieldView(one_line(str(name), limit=80), purposes.get(name, ""), format_field(value))
        for name, value in row.values.items()
    )


def format_field(value: object, limit: int = FIELD_CHARS) -> str:
    """A field's value as text, however large it is: images by their size, the rest as JSON."""
    if isinstance(value, str):
        whole = printable(value, limit=limit)
        return whole if len(value) <= limit else f"{whole} ({len(value):,} characters)"
    try:
        text = json.dumps(_to_plain(value), ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = f"({type(value).__name__})"
    return printable(text, limit=limit)


def _to_plain(value: object, depth: int = 0) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"({len(value):,} bytes)"
    if depth > 6:
        return "…"
    if isinstance(value, dict):
        return {str(key): _to_plain(inner, depth + 1) for key, inner in list(value.items())[:64]}
    if isinstance(value, list | tuple):
        return [_to_plain(inner, depth + 1) for inner in list(value)[:64]]
    return value[:FIELD_CHARS] if isinstance(value, str) else value


def probe_image_view(path: Path) -> ImageView:
    """An image with its size and format as caption, or the reason why it cannot be shown."""
    from mg_tui.data.images import ImageError, probe_image

    try:
        info = probe_image(path)
    except ImageError as error:
        return ImageView(None, placeholder=f"{one_line(path.name, limit=80)} {error.reason}")
    return ImageView(path, f"{info.width}x{info.height} {info.format}  {one_line(path.name, limit=80)}")

"""Rows as the dashboard shows them: small, printable, made in the thread that reads. See `row_builder`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.text import one_line, printable
from mg_tui.tui.image_view import ImageView

if TYPE_CHECKING:
    from mg_tui.core.example import Example

CELL_CHARS: Final = 240  # of a text in the table
FIELD_CHARS: Final = 6_000  # of a field beside its image


@dataclass(frozen=True, slots=True)
class RowView:
    """A row in the table. `blank`: the line holds no row; `loading`: it was not read yet.

    `more_turns`: how many questions follow the first one.
    """

    number: int
    question: str = ""
    answer: str = ""
    images: int = 0
    problem: str = ""
    blank: bool = False
    loading: bool = False
    more_turns: int = 0


@dataclass(frozen=True, slots=True)
class FieldView:
    """A field of a row: its name, its purpose ("question", "images", ...; empty for none), its text."""

    name: str
    purpose: str
    text: str


@dataclass(frozen=True, slots=True)
class RowDetail:
    """A row in full, cut to what a screen can hold.

    Attributes:
        turns: (role, text, number of images) of the conversation; empty when the row makes none.
        images: resolved or not, in the order of the conversation.
        problems: why it cannot be trained on.
        messages: the conversation as the engine takes it; None when an image is missing.
        question, answer: the first question and its answer.
    """

    number: int
    fields: tuple[FieldView, ...] = ()
    turns: tuple[tuple[str, str, int], ...] = ()
    images: tuple[ImageView, ...] = ()
    problems: tuple[str, ...] = ()
    messages: tuple[Mapping[str, Any], ...] | None = field(default=None, hash=False)
    question: str = ""
    answer: str = ""


def question_and_answer(example: "Example") -> tuple[str, str]:
    """The first question and its answer: of a conversation, the first two turns."""
    index = next((index for index, message in enumerate(example.messages) if message.role == "user"), None)
    if index is None:
        return "", example.response
    later = example.messages[index + 1 :]
    answer = next((message.text for message in later if message.role == "assistant"), "")
    return example.messages[index].text, answer


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

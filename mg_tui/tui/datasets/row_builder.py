"""Rows of an open dataset as views, built in the thread that reads.

The data room decides how a row becomes a conversation; here it is only cut to what a screen can hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mg_tui.core.text import one_line, printable
from mg_tui.tui.datasets.open_dataset import OpenDataset
from mg_tui.tui.datasets.row_view import (
    CELL_CHARS,
    FIELD_CHARS,
    FieldView,
    RowDetail,
    RowView,
    format_field,
    question_and_answer,
)
from mg_tui.tui.image_view import ImageView

if TYPE_CHECKING:
    from mg_tui.core.example import Example
    from mg_tui.data.rows import Row


def build_row_view(row: "Row", dataset: OpenDataset) -> RowView:
    """A row in the table."""
    example, problems = dataset.to_example(row)
    if example is None:
        text = dataset.raw_text(row, CELL_CHARS * 2)
        problem = problems[0] if problems else "has no conversation"
        return RowView(row.number, one_line(text, limit=CELL_CHARS), problem=one_line(problem, limit=CELL_CHARS))
    question, answer = question_and_answer(example)
    return RowView(
        row.number,
        one_line(question[: CELL_CHARS * 2], limit=CELL_CHARS),
        one_line(answer[: CELL_CHARS * 2], limit=CELL_CHARS),
        images=len(example.images),
        more_turns=sum(message.role == "user" for message in example.messages) - 1,
    )


def build_row_detail(row: "Row", dataset: OpenDataset) -> RowDetail:
    """A row in full; resolves its images and reads their headers."""
    example, problems = dataset.to_example(row)
    fields = _field_views(row, dataset)
    if example is None:
        return RowDetail(row.number, fields, problems=tuple(problems))
    images = dataset.find_images(example)
    turns = tuple(
        (message.role, printable(message.text.strip(), limit=FIELD_CHARS), _count_images(message))
        for message in example.messages
    )
    question, answer = question_and_answer(example)
    missing = tuple(f"image {index}: {view.placeholder}" for index, view in enumerate(images, 1) if view.path is None)
    return RowDetail(
        row.number,
        fields,
        turns,
        tuple(images),
        missing,
        _message_records(example, images),
        question=question,
        answer=answer,
    )


def _count_images(message: Any) -> int:
    from mg_tui.core.example import ImagePart

    return sum(isinstance(part, ImagePart) for part in message.parts)


def _message_records(example: "Example", images: Sequence[ImageView]) -> tuple[Mapping[str, Any], ...] | None:
    if any(view.path is None for view in images):
        return None
    paths = iter(str(view.path) for view in images)
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


def _field_views(row: "Row", dataset: OpenDataset) -> tuple[FieldView, ...]:
    if row.values is None:
        return (FieldView("line", "", printable(dataset.raw_text(row, FIELD_CHARS), limit=FIELD_CHARS)),)
    purposes = dataset.field_purposes()
    return tuple(
        FieldView(one_line(str(name), limit=80), purposes.get(name, ""), format_field(value))
        for name, value in row.values.items()
    )

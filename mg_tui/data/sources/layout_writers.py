"""Writes conversations as rows of a layout: the inverse of `mg_tui.data.sources.layouts`.

Images are left as `ImageSlot`s, since every format stores them in its own way.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mg_tui.data.field_map import DraftTurn, ExampleDraft, FieldMap
from mg_tui.data.sources.columns import read_columns, without_ignored
from mg_tui.data.sources.layouts import LAYOUTS
from mg_tui.data.sources.markers import IMAGE_MARK

# Layouts that rows can be written in: those they are read in, and OpenAI's parts, which are read as "messages".
WRITABLE_LAYOUTS: Final[Mapping[str, str]] = {
    **{name: description for name, description in LAYOUTS.items() if name not in ("vqa", "choices", "labelstudio")},
    "openai": "turns with role and content, images as parts of content (OpenAI)",
}

_SINGLE_TURN_LAYOUTS: Final = ("fields", "captions")


@dataclass(frozen=True, slots=True)
class ImageSlot:
    """A placeholder for an image: its index among the images of the row."""

    index: int


class LayoutError(Exception):
    """A row that a layout cannot represent; the message completes a sentence whose subject is the row."""


@dataclass(frozen=True, slots=True)
class LayoutRow:
    """A row's values in a layout, and descriptions of the content they do not contain."""

    values: dict[str, Any]
    losses: tuple[str, ...] = ()


def to_row(draft: ExampleDraft, layout: str, fields: FieldMap, *, image_list: bool) -> LayoutRow:
    """The row in a layout.

    Args:
        layout: a key of `WRITABLE_LAYOUTS`.
        fields: of the dataset the row comes from.
        image_list: write a list of images in every row, because some row of the dataset has more than one.

    Raises:
        LayoutError: the layout cannot represent the row.
    """
    turns = list(draft.turns)
    system = turns.pop(0).text if turns and turns[0].role == "system" else None
    if layout in _SINGLE_TURN_LAYOUTS:
        return _to_single_turn_row(draft, turns, system, layout, fields, image_list)
    if layout in ("alpaca", "texts"):
        if any(turn.role == "system" for turn in turns) or not _is_alternating(turns):
            raise LayoutError(f"has turns that do not alternate, which {layout} cannot represent")
        if not all(turn.supervised for turn in turns):
            raise LayoutError(f"has an unsupervised answer, which {layout} cannot represent")
    if layout == "openai":
        return LayoutRow({"messages": [_content_parts(turn) for turn in draft.turns]})
    values: dict[str, Any] = {}
    match layout:
        case "messages":
            values["messages"] = [_turn_object(turn, "role", "content", {}) for turn in draft.turns]
        case "conversations":
            names = {"user": "human", "assistant": "gpt"}
            values["conversations"] = [_turn_object(turn, "from", "value", names) for turn in draft.turns]
        case "texts":
            pairs = zip(turns[::2], turns[1::2], strict=True)
            values["texts"] = [
                {"user": _text_with_marks(user), "assistant": _text_with_marks(assistant)} for user, assistant in pairs
            ]
            values |= {"system": system} if system is not None else {}
        case "alpaca":
            values = {"instruction": _text_with_marks(turns[-2]), "input": "", "output": _text_with_marks(turns[-1])}
            if system is not None:
                values["system"] = system
            if len(turns) > 2:
                values["history"] = [
                    [_text_with_marks(a), _text_with_marks(b)] for a, b in zip(turns[:-2:2], turns[1:-2:2], strict=True)
                ]
    values["images"] = [ImageSlot(part) for turn in draft.turns for part in turn.parts if isinstance(part, int)]
    return LayoutRow(values)


def fill_image_slots(value: Any, render: Callable[[ImageSlot], Any]) -> Any:
    """Values with every `ImageSlot` replaced."""
    if isinstance(value, ImageSlot):
        return render(value)
    if isinstance(value, dict):
        return {key: fill_image_slots(item, render) for key, item in value.items()}
    return [fill_image_slots(item, render) for item in value] if isinstance(value, list) else value


def layout_fields(layout: str) -> frozenset[str]:
    """The fields that a layout writes."""
    return {
        "fields": frozenset({"text", "image", "response", "system"}),
        "captions": frozenset({"image", "caption", "system"}),
        "messages": frozenset({"messages", "images"}),
        "openai": frozenset({"messages"}),
        "conversations": frozenset({"conversations", "images"}),
        "texts": frozenset({"texts", "images", "system"}),
        "alpaca": frozenset({"instruction", "input", "output", "system", "history", "images"}),
    }[layout]


def consumed_fields(values: Mapping[str, Any], layout: str, fields: FieldMap) -> frozenset[str]:
    """The fields of a row that its conversation was read from; the others are carried over unchanged.

    So are boxes, whose placeholders stay in the text.
    """
    read = read_columns(without_ignored(values, fields), layout, fields)
    return frozenset(name for name, purpose in read.items() if purpose != "boxes") | ({"__key__"} & set(values))


def _to_single_turn_row(
    draft: ExampleDraft, turns: list[DraftTurn], system: str | None, layout: str, fields: FieldMap, image_list: bool
) -> LayoutRow:
    if [turn.role for turn in turns] != ["user", "assistant"]:
        raise LayoutError(f"has {len(turns)} turns; {layout} supports a single question and answer")
    question, answer = turns
    if any(isinstance(part, int) for part in answer.parts):
        raise LayoutError(f"has an image in its answer, which {layout} cannot represent")
    if IMAGE_MARK in question.text and draft.images:
        raise LayoutError(f"has {IMAGE_MARK} in its text, which would be read as an image placeholder")
    losses = []
    images = [part for part in question.parts if isinstance(part, int)]
    if list(question.parts[: len(images)]) != images:
        losses.append("the image position within the question; the image is moved to the front")
    slots = [ImageSlot(index) for index in images]
    image: Any = slots if image_list else slots[0] if slots else None
    values: dict[str, Any] = {"image": image}
    if layout == "captions":
        if not slots:
            raise LayoutError("has no image, which captions requires")
        values["caption"] = answer.text
        if question.text != fields.caption_prompt:
            losses.append("the question; replaced by the caption prompt")
    else:
        values = {"text": question.text, **values, "response": answer.text}
    if system is not None:
        values["system"] = system
    return LayoutRow(values, tuple(losses))


def _is_alternating(turns: list[DraftTurn]) -> bool:
    return len(turns) % 2 == 0 and all(
        turn.role == ("assistant" if index % 2 else "user") for index, turn in enumerate(turns)
    )


def _turn_object(turn: DraftTurn, role: str, content: str, names: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {role: names.get(turn.role, turn.role), content: _text_with_marks(turn)}
    return values if turn.supervised else {**values, "weight": 0}


def _content_parts(turn: DraftTurn) -> dict[str, Any]:
    content: Any = turn.text
    if any(isinstance(part, int) for part in turn.parts) or IMAGE_MARK in turn.text:
        content = [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image_url", "image_url": {"url": ImageSlot(part)}}
            for part in turn.parts
        ]
    return {"role": turn.role, "content": content} | ({} if turn.supervised else {"weight": 0})


def _text_with_marks(turn: DraftTurn) -> str:
    """A turn's text with a placeholder for each image."""
    if IMAGE_MARK in turn.text:
        raise LayoutError(f"has {IMAGE_MARK} in its text, which would be read as an image placeholder")
    return "".join(part if isinstance(part, str) else f"{IMAGE_MARK}\n" for part in turn.parts)

"""Rows that hold a conversation: lists of turns as OpenAI, LLaVA, LLaMA-Factory, ms-swift and others write them.

Images are placed in one of three ways: as parts of a turn's content; as `<image>` placeholders in its text, which
refer to the images of the row in order (a newline after a placeholder belongs to it, as in LLaVA); or, with neither,
before the first question. The numbers of placeholders and images must be equal. Where content is a list of parts,
`<image>` in a text part is plain text.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mg_tui.data.field_map import DraftTurn, FieldMap, RowReader, TurnKeys, list_fields
from mg_tui.data.jsonl import describe_type
from mg_tui.data.sources.turn_reader import TurnReader

IMAGE_MARK: Final = "<image>"

_TURN_FIELDS: Final = ("messages", "conversations", "conversation", "dialog", "chat", "texts")
_IMAGE_FIELDS: Final = ("images", "image", "image_path", "image_paths")
# The keys of a turn's role and content, and the layout they make.
_KEY_LAYOUTS: Final = (
    ("role", "content", "messages"),
    ("from", "value", "conversations"),
    ("from", "content", "messages"),
)
_UNSUPPORTED_MEDIA: Final = ("videos", "video", "audios", "audio")
_IMAGE_MARK_PATTERN: Final = re.compile(r"<image>\n?")


def find_turns_field(values: Mapping[str, Any], fields: FieldMap) -> tuple[str, str] | None:
    """The field that holds a list of turns, and the layout of its turns."""
    for name in (fields.messages,) if fields.messages else _TURN_FIELDS:
        turns = _parse_list(values.get(name))
        if not turns or not isinstance(turns[0], Mapping):
            continue
        if fields.turn_keys.role and fields.turn_keys.role in turns[0]:
            return name, "messages" if fields.turn_keys.role == "role" else "conversations"
        for role, content, layout in _KEY_LAYOUTS:
            if role in turns[0] and content in turns[0]:
                return name, layout
        if {"user", "assistant"} <= set(turns[0]):
            return name, "texts"
    return None


def find_images_field(values: Mapping[str, Any], fields: FieldMap) -> str | None:
    """The field with the row's images: the configured one, else the first alias that the row has."""
    return next((name for name in (fields.image, *_IMAGE_FIELDS) if name in values), None)


def read_turns(reader: RowReader, fields: FieldMap) -> list[DraftTurn] | None:
    """The turns of the layouts "messages" and "conversations"."""
    name, items = _read_turn_items(reader, fields)
    if items is None:
        return None
    images = _read_row_images(reader, fields)
    if images is None:
        return None
    keys, image_count = _detect_turn_keys(items, fields.turn_keys), len(images)
    turns: list[DraftTurn] = []
    literal: set[int] = set()
    for index, item in enumerate(items, 1):
        turn = TurnReader(reader, name, f"turn {index} ", keys, images).read(item)
        if turn is not None:
            if isinstance(item[keys.content], list):
                literal.add(len(turns))
            turns.append(turn)
    if 0 < len(images) < image_count:
        used = image_count - len(images)
        placeholders = f"{used} image placeholder{'s' if used != 1 else ''}"
        reader.add_problem(name, f"has {placeholders} but the row has {image_count}")
    if reader.problems:
        return None
    placed = _insert_images(reader, name, turns, images, literal)
    return None if placed is None else _validate_turns(reader, name, _prepend_system(reader, placed, fields), fields)


def read_pairs(reader: RowReader, fields: FieldMap) -> list[DraftTurn] | None:
    """The turns of the layout "texts": pairs of user and assistant."""
    name, items = _read_turn_items(reader, fields)
    images = _read_row_images(reader, fields) if items is not None else None
    if items is None or images is None:
        return None
    turns: list[DraftTurn] = []
    for index, item in enumerate(items, 1):
        if not isinstance(item, Mapping):
            reader.add_problem(
                name, f"turn {index} is {describe_type(item)}, expected an object with user and assistant"
            )
            continue
        _add_pair(reader, turns, name, f"turn {index}: ", item.get("user"), item.get("assistant"))
    placed = None if reader.problems else _insert_images(reader, name, turns, images)
    return None if placed is None else _validate_turns(reader, name, _prepend_system(reader, placed, fields), fields)


def read_alpaca(reader: RowReader, fields: FieldMap) -> list[DraftTurn] | None:
    """The turns of the layout "alpaca"; also ms-swift's query, response and history."""
    values = reader.values
    question_field = next((n for n in (fields.text, "instruction", "query", "prompt") if n in values), "instruction")
    answer_field = next((n for n in (fields.response, "output", "response") if n in values), "output")
    for purpose, name in (("text", question_field), ("response", answer_field)):
        if name not in values:
            reader.add_problem(
                name, f"is missing; the row has {list_fields(list(values))}", f"name it with --{purpose}-field"
            )
    images = _read_row_images(reader, fields)
    if reader.problems or images is None:
        return None
    turns: list[DraftTurn] = []
    history = fields.history or "history"
    for index, pair in enumerate(_parse_list(values.get(history)) or [], 1):
        if isinstance(pair, list) and len(pair) == 2:
            _add_pair(reader, turns, history, f"turn {index}: ", *pair)
        else:
            reader.add_problem(
                history, f"turn {index} is {describe_type(pair)}, expected a pair of question and answer"
            )
    extra_input = values.get(fields.input or "input")
    question = values[question_field]
    if isinstance(question, str) and isinstance(extra_input, str) and extra_input:
        question = f"{question}\n{extra_input}" if question else extra_input
    _add_pair(reader, turns, question_field, "", question, values[answer_field], answer_field)
    placed = None if reader.problems else _insert_images(reader, question_field, turns, images)
    if placed is None:
        return None
    return _validate_turns(reader, question_field, _prepend_system(reader, placed, fields), fields)


def _add_pair(
    reader: RowReader,
    turns: list[DraftTurn],
    name: str,
    which: str,
    question: Any,
    answer: Any,
    answer_field: str | None = None,
) -> None:
    user = reader.read_text(name, question, which=which)
    assistant = reader.read_text(answer_field or name, answer, which=which)
    if user is not None and assistant is not None:
        turns += [DraftTurn("user", (user,)), DraftTurn("assistant", (assistant,))]


def _read_turn_items(reader: RowReader, fields: FieldMap) -> tuple[str, list[Any] | None]:
    names = (fields.messages,) if fields.messages else _TURN_FIELDS
    name = next((name for name in names if name in reader.values), names[0])
    if name not in reader.values:
        hint = "set --messages-field or --dataset-layout"
        reader.add_problem(name, f"is missing; the row has {list_fields(list(reader.values))}", hint)
        return name, None
    items = _parse_list(reader.values[name])
    if items is None:
        reader.add_problem(name, f"is {describe_type(reader.values[name])}, expected a list of turns")
    elif not items:
        reader.add_problem(name, "is empty")
        items = None
    return name, items


def _parse_list(value: Any) -> list[Any] | None:
    """A list, or the list that a table stores as JSON text; None for anything else."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) else None


def _read_row_images(reader: RowReader, fields: FieldMap) -> list[int] | None:
    for name in _UNSUPPORTED_MEDIA:
        if reader.values.get(name):
            reader.add_problem(name, "has video or audio, which is not supported")
    if reader.values.get("objects"):
        reader.add_problem(
            "objects", "has bounding boxes outside the text, which are not supported", "include the boxes in the answer"
        )
    images = find_images_field(reader.values, fields)
    return [] if images is None else reader.read_images(images)


def _detect_turn_keys(items: Sequence[Any], keys: TurnKeys) -> TurnKeys:
    """`keys` with unset role and content keys taken from the first turn."""
    first = next((item for item in items if isinstance(item, Mapping)), {})
    for role, content, _layout in _KEY_LAYOUTS:
        if role in first and content in first:
            return replace(keys, role=keys.role or role, content=keys.content or content)
    return replace(keys, role=keys.role or "role", content=keys.content or "content")


def _prepend_system(reader: RowReader, turns: list[DraftTurn], fields: FieldMap) -> list[DraftTurn]:
    """The turns with the row's own system message before them."""
    name = fields.system or "system"
    if reader.values.get(name) in (None, "") or any(turn.role == "system" for turn in turns):
        return turns
    text = reader.read_text(name, reader.values[name])
    return turns if text is None else [DraftTurn("system", (text,)), *turns]


def _validate_turns(reader: RowReader, name: str, placed: list[DraftTurn], fields: FieldMap) -> list[DraftTurn] | None:
    """Require a supervised answer after a question, and set which answers are supervised."""
    roles = [turn.role for turn in placed if turn.role != "system"]
    if not roles or roles[0] != "user":
        reader.add_problem(name, "does not start with a user turn", "add a user turn first")
    elif roles[-1] != "assistant":
        reader.add_problem(name, "does not end with an assistant turn", "remove the turns after the last answer")
    if fields.supervised_answers == "last":
        last = len(placed) - 1
        placed = [replace(turn, supervised=turn.supervised and index == last) for index, turn in enumerate(placed)]
    if not any(turn.supervised for turn in placed if turn.role == "assistant"):
        reader.add_problem(name, "has no supervised answer", "answers with weight or loss 0 are not supervised")
    return None if reader.problems else placed


def _insert_images(
    reader: RowReader, name: str, turns: list[DraftTurn], images: list[int], literal: Collection[int] = ()
) -> list[DraftTurn] | None:
    """The turns with the row's images at their placeholders; turns whose index is in `literal` have none."""
    texts = ["" if index in literal else _marked_text(turn) for index, turn in enumerate(turns)]
    placeholders = sum(len(_IMAGE_MARK_PATTERN.findall(text)) for text in texts)
    if placeholders == 0 and images:
        first = next((index for index, turn in enumerate(turns) if turn.role == "user"), None)
        if first is not None:
            turns[first] = replace(turns[first], parts=(*images, *turns[first].parts))
        return turns
    if placeholders != len(images):
        marks = f"{placeholders} {IMAGE_MARK} placeholder{'s' if placeholders != 1 else ''}"
        available = f"{len(images)} image{'s' if len(images) != 1 else ''}"
        reader.add_problem(name, f"has {marks} but the row has {available}")
        return None
    remaining = iter(images)
    return [
        replace(turn, parts=tuple(_split_at_marks(text, remaining))) if text else turn
        for turn, text in zip(turns, texts, strict=True)
    ]


def _marked_text(turn: DraftTurn) -> str:
    """The text of a turn that is a single text with placeholders; empty for other turns."""
    if len(turn.parts) != 1 or not isinstance(turn.parts[0], str) or IMAGE_MARK not in turn.parts[0]:
        return ""
    return turn.parts[0]


def _split_at_marks(text: str, images: Iterator[int]) -> Iterator[str | int]:
    for index, piece in enumerate(_IMAGE_MARK_PATTERN.split(text)):
        if index:
            yield next(images)
        if piece:
            yield piece

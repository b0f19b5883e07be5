"""Rows that hold a conversation: lists of turns as OpenAI, LLaVA, LLaMA-Factory, ms-swift and others write them.

Images are placed in one of three ways: as parts of a turn's content; as `<image>` placeholders in its text, which
refer to the images of the row in order (a newline after a placeholder belongs to it, as in LLaVA); or, with neither,
before the first question. The numbers of placeholders and images must be equal. Where content is a list of parts,
`<image>` in a text part is plain text.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mg_tui.data.field_map import DraftTurn, FieldMap, TurnKeys
from mg_tui.data.jsonl import describe_type
from mg_tui.data.row_reader import RowReader, list_fields
from mg_tui.data.sources.column_values import is_empty
from mg_tui.data.sources.columns import TURN_COLUMNS, alpaca_columns, find_images_field, find_system_field
from mg_tui.data.sources.markers import insert_images
from mg_tui.data.sources.turn_reader import TurnReader

# The question's key in pairs of question and answer.
_PAIR_USERS: Final = ("user", "human")
# The keys of a turn's role and content, and the layout they make.
_KEY_LAYOUTS: Final = (
    ("role", "content", "messages"),
    ("from", "value", "conversations"),
    ("from", "content", "messages"),
    ("role", "parts", "messages"),  # Gemini
)


def find_turns_field(values: Mapping[str, Any], fields: FieldMap) -> tuple[str, str] | None:
    """The field that holds a list of turns, and the layout of its turns; of TRL's prompt and completion the first."""
    if fields.messages in (None, "prompt") and is_split_conversation(values):
        return "prompt", "messages"
    for name in (fields.messages,) if fields.messages else TURN_COLUMNS:
        turns = _parse_list(values.get(name))
        if not turns or not isinstance(turns[0], Mapping):
            continue
        if fields.turn_keys.role and fields.turn_keys.role in turns[0]:
            return name, "messages" if fields.turn_keys.role == "role" else "conversations"
        for role, content, layout in _KEY_LAYOUTS:
            if role in turns[0] and content in turns[0]:
                return name, layout
        if any({user, "assistant"} <= set(turns[0]) for user in _PAIR_USERS):
            return name, "texts"
    return None


def is_split_conversation(values: Mapping[str, Any]) -> bool:
    """Whether a row has a conversation as TRL writes it: turns in prompt, and those to learn in completion."""
    parts = [_parse_list(values.get(name)) for name in ("prompt", "completion")]
    return all(part and all(isinstance(turn, Mapping) and "role" in turn for turn in part) for part in parts)


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
    if given := _given_turns(reader, name):
        turns = [replace(turn, supervised=turn.supervised and at >= given) for at, turn in enumerate(turns)]
    if 0 < len(images) < image_count:
        used = image_count - len(images)
        placeholders = f"{used} image placeholder{'s' if used != 1 else ''}"
        reader.add_problem(name, f"has {placeholders} but the row has {image_count}")
    if reader.problems:
        return None
    placed = insert_images(reader, name, turns, images, literal)
    return None if placed is None else _validate_turns(reader, name, _prepend_system(reader, placed, fields), fields)


def _given_turns(reader: RowReader, name: str) -> int:
    """How many turns are the prompt of a completion, none of which is supervised; 0 for other conversations."""
    split = name == "prompt" and is_split_conversation(reader.values)
    return len(_parse_list(reader.values[name]) or ()) if split else 0


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
        user = next((key for key in _PAIR_USERS if key in item), "user")
        others = (f"{name}.{key}" for key, value in item.items() if key not in (user, "assistant") and value)
        reader.unused_keys.update(other for other in others if other not in reader.ignored)
        _add_pair(reader, turns, name, f"turn {index}: ", item.get(user), item.get("assistant"))
    placed = None if reader.problems else insert_images(reader, name, turns, images)
    return None if placed is None else _validate_turns(reader, name, _prepend_system(reader, placed, fields), fields)


def read_alpaca(reader: RowReader, fields: FieldMap) -> list[DraftTurn] | None:
    """The turns of the layout "alpaca"; also ms-swift's query, response and history."""
    values = reader.values
    question_field, answer_field = alpaca_columns(values, fields)
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
    placed = None if reader.problems else insert_images(reader, question_field, turns, images)
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
    names = (fields.messages,) if fields.messages else TURN_COLUMNS
    name = next((name for name in names if name in reader.values), names[0])
    if name not in reader.values:
        hint = "set --messages-field or --dataset-layout"
        reader.add_problem(name, f"is missing; the row has {list_fields(list(reader.values))}", hint)
        return name, None
    items = _parse_list(reader.values[name])
    if items and name == "prompt" and is_split_conversation(reader.values):
        items = [*items, *(_parse_list(reader.values["completion"]) or ())]
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
    if any(turn.role == "system" for turn in turns):
        return turns
    text = read_system_text(reader, fields)
    return turns if text is None else [DraftTurn("system", (text,)), *turns]


def read_system_text(reader: RowReader, fields: FieldMap) -> str | None:
    """The row's own system message: a text, or Gemini's object with parts; None where it has none."""
    name = find_system_field(reader.values, fields)
    value = reader.values.get(name)
    if is_empty(value):
        return None
    if isinstance(value, Mapping) and isinstance(value.get("parts"), list):
        texts = [part.get("text") if isinstance(part, Mapping) else None for part in value["parts"]]
        value = "".join(text for text in texts if isinstance(text, str)) if None not in texts else value
    return reader.read_text(name, value)


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
    for number, turn in enumerate((turn for turn in placed if turn.role != "system"), 1):
        if turn.role == "assistant" and not turn.text.strip():
            reader.add_problem(name, f"turn {number} is an empty answer: it has an image, but no text")
    return None if reader.problems else placed

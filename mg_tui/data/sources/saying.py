"""The other way round: a conversation said in a layout, for writing it.

Pictures are left as `Slot`s, since every format has its own way of holding them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mg_tui.data.mapping import Draft, FieldMap, Turn
from mg_tui.data.sources import chats
from mg_tui.data.sources.layouts import LAYOUTS

# What rows can be written as: the layouts they are read in, and OpenAI's parts, which are read as "messages".
WRITTEN: Final[Mapping[str, str]] = {
    **{name: said for name, said in LAYOUTS.items() if name != "vqa"},
    "openai": "turns with role and content, pictures as parts of content (OpenAI)",
}

_SINGLE: Final = ("fields", "captions")


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a picture, by its index in the row's."""

    index: int


class Unsayable(Exception):
    """A row that a layout cannot hold; the message is the end of a sentence that begins with the row."""


@dataclass(frozen=True, slots=True)
class Said:
    """A row's values in a layout, and what of it they do not hold, in words."""

    values: dict[str, Any]
    lost: tuple[str, ...] = ()


def say(draft: Draft, layout: str, fields: FieldMap, *, several: bool) -> Said:
    """The row in a layout.

    Args:
        layout: a key of `WRITTEN`.
        fields: of the dataset the row comes from.
        several: some row of the dataset has more than one picture, so that every row has a list.

    Raises:
        Unsayable: the layout cannot hold the row.
    """
    turns = list(draft.turns)
    system = turns.pop(0).text if turns and turns[0].role == "system" else None
    if layout in _SINGLE:
        return _single(draft, turns, system, layout, fields, several)
    if layout in ("alpaca", "texts"):
        if any(turn.role == "system" for turn in turns) or not _alternating(turns):
            raise Unsayable(f"has turns that are not question and answer by turns, which {layout} cannot hold")
        if not all(turn.learn for turn in turns):
            raise Unsayable(f"has an answer that is not to be learned, which {layout} cannot say")
    if layout == "openai":
        return Said({"messages": [_parts(turn) for turn in draft.turns]})
    values: dict[str, Any] = {}
    match layout:
        case "messages":
            values["messages"] = [_turn(turn, "role", "content", {}) for turn in draft.turns]
        case "conversations":
            names = {"user": "human", "assistant": "gpt"}
            values["conversations"] = [_turn(turn, "from", "value", names) for turn in draft.turns]
        case "texts":
            pairs = zip(turns[::2], turns[1::2], strict=True)
            values["texts"] = [{"user": _marked(asked), "assistant": _marked(said)} for asked, said in pairs]
            values |= {"system": system} if system is not None else {}
        case "alpaca":
            values = {"instruction": _marked(turns[-2]), "input": "", "output": _marked(turns[-1])}
            if system is not None:
                values["system"] = system
            if len(turns) > 2:
                values["history"] = [[_marked(a), _marked(b)] for a, b in zip(turns[:-2:2], turns[1:-2:2], strict=True)]
    shown = [part for turn in draft.turns for part in turn.parts if isinstance(part, int)]
    values["images"] = [Slot(index) for index in shown]
    return Said(values)


def fill(value: Any, render: Callable[[Slot], Any]) -> Any:
    """Values with every `Slot` replaced."""
    if isinstance(value, Slot):
        return render(value)
    if isinstance(value, dict):
        return {key: fill(item, render) for key, item in value.items()}
    return [fill(item, render) for item in value] if isinstance(value, list) else value


def names_of(layout: str) -> frozenset[str]:
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


def used_names(values: Mapping[str, Any], layout: str, fields: FieldMap) -> frozenset[str]:
    """The fields of a row that its conversation was read from; the others go along as they are."""
    images = chats.images_field(values, fields)
    used = {fields.system or "system", fields.image, "__key__"} | ({images} if images else set())
    if layout in ("fields", "vqa", "captions"):
        used |= {fields.response} | ({fields.text} if layout != "captions" else set())
    elif layout == "alpaca":
        used |= names_of("alpaca") | {fields.text, fields.response, "query", "prompt", "response"}
        used |= {name for name in (fields.input, fields.history) if name}
    else:
        used.add(fields.messages or "messages")
    return frozenset(used & set(values))


def _single(draft: Draft, turns: list[Turn], system: str | None, layout: str, fields: FieldMap, several: bool) -> Said:
    if [turn.role for turn in turns] != ["user", "assistant"]:
        raise Unsayable(f"has {len(turns)} turns, and {layout} holds a question and its answer")
    asked, answered = turns
    if any(isinstance(part, int) for part in answered.parts):
        raise Unsayable(f"has a picture in its answer, which {layout} cannot hold")
    lost = []
    pictures = [part for part in asked.parts if isinstance(part, int)]
    if list(asked.parts[: len(pictures)]) != pictures:
        lost.append("the place of a picture inside its question: it comes first now")
    slots = [Slot(index) for index in pictures]
    image: Any = slots if several else slots[0] if slots else None
    values: dict[str, Any] = {"image": image}
    if layout == "captions":
        if not slots:
            raise Unsayable("has no picture, which captions need")
        values["caption"] = answered.text
        if asked.text != fields.caption_prompt:
            lost.append("the question: the caption prompt is asked instead")
    else:
        values = {"text": asked.text, **values, "response": answered.text}
    if system is not None:
        values["system"] = system
    return Said(values, tuple(lost))


def _alternating(turns: list[Turn]) -> bool:
    return len(turns) % 2 == 0 and all(
        turn.role == ("assistant" if index % 2 else "user") for index, turn in enumerate(turns)
    )


def _turn(turn: Turn, role: str, content: str, names: Mapping[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = {role: names.get(turn.role, turn.role), content: _marked(turn)}
    return said if turn.learn else {**said, "weight": 0}


def _parts(turn: Turn) -> dict[str, Any]:
    content: Any = turn.text
    if any(isinstance(part, int) for part in turn.parts) or chats.MARK in turn.text:
        content = [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image_url", "image_url": {"url": Slot(part)}}
            for part in turn.parts
        ]
    return {"role": turn.role, "content": content} | ({} if turn.learn else {"weight": 0})


def _marked(turn: Turn) -> str:
    """A turn's text with a mark for each picture."""
    if chats.MARK in turn.text:
        raise Unsayable(f"has {chats.MARK} in its text, which would be read as the place of a picture")
    return "".join(part if isinstance(part, str) else f"{chats.MARK}\n" for part in turn.parts)

"""How a row says a conversation: the layouts, how one is recognised, and what each makes of a row."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mg_tui.data.mapping import ALSO_CALLED, Draft, FieldMap, RowReader, Turn, listed
from mg_tui.data.pictures import PictureStore
from mg_tui.data.problems import RowProblem, plain
from mg_tui.data.rows import Row
from mg_tui.data.sources import chats
from mg_tui.data.sources.base import Certainty
from mg_tui.data.weights import weight_of

# What each layout is called for people.
LAYOUTS: Final[Mapping[str, str]] = {
    "fields": "a question, pictures and an answer in three fields",
    "messages": "turns with role and content (OpenAI, LLaMA-Factory, ms-swift)",
    "conversations": "turns with from and value (LLaVA, ShareGPT)",
    "texts": "turns with user and assistant (The Cauldron)",
    "alpaca": "instruction, input and output (Alpaca, LLaMA-Factory)",
    "vqa": "a question, pictures and one or several answers (visual question answering)",
    "captions": "a picture and its caption or label",
}

# Formats whose "text" beside a picture is its caption by convention.
_CAPTIONED: Final = frozenset({"imagefolder", "webdataset"})
_CAPTIONS: Final = ("caption", "captions", "description")
_QUESTIONS: Final = ("question",)
_ANSWERS: Final = ("answer", "answers", "multiple_choice_answer", "response", "label")

Reader = Callable[[RowReader, FieldMap], list[Turn] | None]


def to_draft(row: Row, layout: str, fields: FieldMap, store: PictureStore) -> Draft | list[RowProblem]:
    """The row's conversation and pictures, or every problem with its fields (their `raw` is left empty).

    Pictures inside the row are written to `store`.

    Raises:
        EnvironmentProblem: `store` cannot be written.
    """
    if row.values is None:
        return [row.problem] if row.problem is not None else []
    reader = RowReader(row, row.values, store)
    turns = _READERS[layout](reader, fields)
    weight = weight_of(row.number, row.values, fields.weight)
    if isinstance(weight, RowProblem):
        reader.problems.append(weight)
    if reader.problems or turns is None or isinstance(weight, RowProblem):
        return reader.problems
    name = chats.images_field(row.values, fields) or fields.image
    return Draft(row.number, tuple(turns), tuple(reader.images), row.offset, row.length, weight, name)


def recognise_layout(
    rows: Sequence[Row], fields: FieldMap | None = None, *, format: str = "jsonl"
) -> tuple[str, FieldMap, Certainty, str]:
    """The layout that most of the rows have: its key, the fields with what was found of them, how sure, and why.

    Args:
        rows: some of the first ones.
        fields: as far as the user named them.
        format: a key of `FORMATS`; in some, `text` beside a picture is its caption.
    """
    fields = fields or FieldMap()
    found: Counter[tuple[str, FieldMap]] = Counter()
    usable = [row.values for row in rows if row.values is not None]
    for values in usable:
        if guess := _layout_of(values, fields, format):
            found[guess] += 1
    if not found:
        seen = f"; the first has {listed(list(usable[0]))}" if usable else ""
        return "fields", fields, "guess", f"no row looks like any layout{seen}"
    (layout, settled), count = found.most_common(1)[0]
    why = f"{count} of the first {len(usable)} rows have " if count < len(usable) else "rows have "
    why += _because(layout, settled, usable)
    if count < len(usable):
        return layout, settled, "likely" if count * 2 > len(usable) else "guess", why
    return layout, settled, "likely" if layout in ("vqa", "captions") else "sure", why


def fields_in(layout: str, rows: Sequence[Row], fields: FieldMap) -> FieldMap:
    """The fields of a layout that was named, found among the first rows where they were not."""
    values: Mapping[str, Any] = next((row.values for row in rows if row.values is not None), {})
    if layout not in ("vqa", "captions"):
        return fields
    text, image, response = fields.text, fields.image, fields.response
    image = _first(values, (image, *ALSO_CALLED["image"])) or image
    if layout == "captions":
        response = _first(values, (response, *_CAPTIONS, "text", *ALSO_CALLED["response"])) or response
    else:
        text = _first(values, (text, *_QUESTIONS, *ALSO_CALLED["text"])) or text
        response = _first(values, (response, *_ANSWERS, *ALSO_CALLED["response"])) or response
    return replace(fields, text=text, image=image, response=response)


def _layout_of(values: Mapping[str, Any], fields: FieldMap, format: str) -> tuple[str, FieldMap] | None:
    if chat := chats.find_turns(values, fields):
        name, layout = chat
        return layout, replace(fields, messages=name)
    if fields.response in values and (fields.text in values or fields.image in values):
        return "fields", fields
    if {"instruction", "output"} <= set(values) or {"query", "response"} <= set(values):
        return "alpaca", fields
    image = _first(values, (fields.image, *ALSO_CALLED["image"]))
    question, answer = _first(values, _QUESTIONS), _first(values, _ANSWERS)
    if question and answer:
        return "vqa", replace(fields, text=question, response=answer, image=image or fields.image)
    names = (*_CAPTIONS, *(("text", "label") if format in _CAPTIONED else ()))
    caption = _first(values, names)
    if image and caption and fields.text == "text":
        return "captions", replace(fields, image=image, response=caption)
    if fields.text in values and fields.image in values:
        return "fields", fields
    return None


def _because(layout: str, fields: FieldMap, rows: Sequence[Mapping[str, Any]]) -> str:
    def said(name: str | None) -> str:
        return plain(str(name), limit=40)

    match layout:
        case "fields" | "vqa":
            return f"{said(fields.text)}, {said(fields.image)} and {said(fields.response)}"
        case "captions":
            return f"a picture in {said(fields.image)} and words in {said(fields.response)}, and no question"
        case "alpaca":
            return "an instruction and an output" if rows and "instruction" in rows[0] else "query and response"
    keys = {"messages": "role and content", "conversations": "from and value", "texts": "user and assistant"}[layout]
    return f"a list in {said(fields.messages)} whose items have {keys}"


def _first(values: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in values), None)


def _fields(reader: RowReader, fields: FieldMap) -> list[Turn] | None:
    text = reader.field("text", fields.text)
    pictures = _pictures(reader, fields)
    response = reader.field("response", fields.response)
    if text is None or pictures is None or response is None:
        return None
    return [*_system(reader, fields), Turn("user", (*pictures, text)), Turn("assistant", (response,))]


def _vqa(reader: RowReader, fields: FieldMap) -> list[Turn] | None:
    text = reader.field("text", fields.text)
    pictures = _pictures(reader, fields)
    response = _answer(reader, fields.response)
    if text is None or pictures is None or response is None:
        return None
    return [*_system(reader, fields), Turn("user", (*pictures, text)), Turn("assistant", (response,))]


def _captions(reader: RowReader, fields: FieldMap) -> list[Turn] | None:
    pictures = _pictures(reader, fields)
    response = _answer(reader, fields.response)
    if pictures == []:
        reader.bad(fields.image, "has no picture for the caption")
    if not pictures or response is None:
        return None
    return [*_system(reader, fields), Turn("user", (*pictures, fields.caption_prompt)), Turn("assistant", (response,))]


def _pictures(reader: RowReader, fields: FieldMap) -> list[int] | None:
    name = chats.images_field(reader.values, fields)
    if name is None:
        reader.missing("image", fields.image)
        return None
    return reader.pictures(name)


def _system(reader: RowReader, fields: FieldMap) -> list[Turn]:
    name = fields.system or "system"
    if reader.values.get(name) in (None, ""):
        return []
    text = reader.text(name, reader.values[name])
    return [Turn("system", (text,))] if text is not None else []


def _answer(reader: RowReader, name: str) -> str | None:
    """One answer of those a field has: of several by people, the commonest; of equals, the first."""
    if name not in reader.values:
        reader.missing("response", name)
        return None
    value = reader.values[name]
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]
    if not isinstance(value, list):
        return reader.text(name, value)
    answers = [item.get("answer") if isinstance(item, Mapping) else item for item in value]
    if not answers:
        reader.bad(name, "is an empty list, and has to have an answer")
        return None
    for index, answer in enumerate(answers, 1):
        if reader.text(name, answer, which=f"item {index} ") is None:
            return None
    return str(Counter(answers).most_common(1)[0][0])


_READERS: Final[Mapping[str, Reader]] = {
    "fields": _fields,
    "messages": chats.read_turns,
    "conversations": chats.read_turns,
    "texts": chats.read_pairs,
    "alpaca": chats.read_alpaca,
    "vqa": _vqa,
    "captions": _captions,
}

"""The layouts of rows: how one is detected, and how each is read as a conversation."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mg_tui.data.embedded_images import EmbeddedImageStore
from mg_tui.data.field_map import FIELD_ALIASES, DraftTurn, ExampleDraft, FieldMap, RowReader, list_fields
from mg_tui.data.row_problems import RowProblem, safe_line
from mg_tui.data.row_weight import parse_weight
from mg_tui.data.rows import Row
from mg_tui.data.sources import chat_layouts
from mg_tui.data.sources.base import Certainty

# Descriptions of the layouts.
LAYOUTS: Final[Mapping[str, str]] = {
    "fields": "question, images and answer in separate fields",
    "messages": "turns with role and content (OpenAI, LLaMA-Factory, ms-swift)",
    "conversations": "turns with from and value (LLaVA, ShareGPT)",
    "texts": "turns with user and assistant (The Cauldron)",
    "alpaca": "instruction, input and output (Alpaca, LLaMA-Factory)",
    "vqa": "question, images and one or more answers (visual question answering)",
    "captions": "an image with a caption or label",
}

# Formats in which "text" beside an image is its caption by convention.
_CAPTION_FORMATS: Final = frozenset({"imagefolder", "webdataset"})
_CAPTION_FIELDS: Final = ("caption", "captions", "description")
_QUESTION_FIELDS: Final = ("question",)
_ANSWER_FIELDS: Final = ("answer", "answers", "multiple_choice_answer", "response", "label")

LayoutReader = Callable[[RowReader, FieldMap], list[DraftTurn] | None]


def to_draft(row: Row, layout: str, fields: FieldMap, store: EmbeddedImageStore) -> ExampleDraft | list[RowProblem]:
    """The row's conversation and images, or every problem with its fields (their `raw` is left empty).

    Images inside the row are written to `store`.

    Raises:
        EnvironmentProblem: `store` cannot be written.
    """
    if row.values is None:
        return [row.problem] if row.problem is not None else []
    reader = RowReader(row, row.values, store)
    turns = _READERS[layout](reader, fields)
    weight = parse_weight(row.number, row.values, fields.weight)
    if isinstance(weight, RowProblem):
        reader.problems.append(weight)
    if reader.problems or turns is None or isinstance(weight, RowProblem):
        return reader.problems
    name = chat_layouts.find_images_field(row.values, fields) or fields.image
    return ExampleDraft(row.number, tuple(turns), tuple(reader.images), row.offset, row.length, weight, name)


def detect_layout(
    rows: Sequence[Row], fields: FieldMap | None = None, *, format: str = "jsonl"
) -> tuple[str, FieldMap, Certainty, str]:
    """The layout that most rows match: its key, its fields, the certainty, and the reason.

    Args:
        rows: some of the first rows.
        fields: as far as the user named them.
        format: a key of `FORMATS`; in some, `text` beside an image is its caption.
    """
    fields = fields or FieldMap()
    matches: Counter[tuple[str, FieldMap]] = Counter()
    usable = [row.values for row in rows if row.values is not None]
    for values in usable:
        if guess := _detect_row_layout(values, fields, format):
            matches[guess] += 1
    if not matches:
        available = f"; the first has {list_fields(list(usable[0]))}" if usable else ""
        return "fields", fields, "guess", f"no known layout matches{available}"
    (layout, detected), count = matches.most_common(1)[0]
    why = f"{count} of the first {len(usable)} rows have " if count < len(usable) else "rows have "
    why += _layout_reason(layout, detected, usable)
    if count < len(usable):
        return layout, detected, "likely" if count * 2 > len(usable) else "guess", why
    return layout, detected, "likely" if layout in ("vqa", "captions") else "sure", why


def find_layout_fields(layout: str, rows: Sequence[Row], fields: FieldMap) -> FieldMap:
    """The fields of an explicitly chosen layout; fields that the rows do not have are replaced by aliases they have."""
    values: Mapping[str, Any] = next((row.values for row in rows if row.values is not None), {})
    if layout not in ("vqa", "captions"):
        return fields
    text, image, response = fields.text, fields.image, fields.response
    image = _first_present(values, (image, *FIELD_ALIASES["image"])) or image
    if layout == "captions":
        response = _first_present(values, (response, *_CAPTION_FIELDS, "text", *FIELD_ALIASES["response"])) or response
    else:
        text = _first_present(values, (text, *_QUESTION_FIELDS, *FIELD_ALIASES["text"])) or text
        response = _first_present(values, (response, *_ANSWER_FIELDS, *FIELD_ALIASES["response"])) or response
    return replace(fields, text=text, image=image, response=response)


def _detect_row_layout(values: Mapping[str, Any], fields: FieldMap, format: str) -> tuple[str, FieldMap] | None:
    if chat := chat_layouts.find_turns_field(values, fields):
        name, layout = chat
        return layout, replace(fields, messages=name)
    if fields.response in values and (fields.text in values or fields.image in values):
        return "fields", fields
    if {"instruction", "output"} <= set(values) or {"query", "response"} <= set(values):
        return "alpaca", fields
    image = _first_present(values, (fields.image, *FIELD_ALIASES["image"]))
    question, answer = _first_present(values, _QUESTION_FIELDS), _first_present(values, _ANSWER_FIELDS)
    if question and answer:
        return "vqa", replace(fields, text=question, response=answer, image=image or fields.image)
    names = (*_CAPTION_FIELDS, *(("text", "label") if format in _CAPTION_FORMATS else ()))
    caption = _first_present(values, names)
    if image and caption and fields.text == "text":
        return "captions", replace(fields, image=image, response=caption)
    if fields.text in values and fields.image in values:
        return "fields", fields
    return None


def _layout_reason(layout: str, fields: FieldMap, rows: Sequence[Mapping[str, Any]]) -> str:
    def shorten(name: str | None) -> str:
        return safe_line(str(name), limit=40)

    match layout:
        case "fields" | "vqa":
            return f"{shorten(fields.text)}, {shorten(fields.image)} and {shorten(fields.response)}"
        case "captions":
            return f"an image in {shorten(fields.image)} and text in {shorten(fields.response)}, but no question"
        case "alpaca":
            return "an instruction and an output" if rows and "instruction" in rows[0] else "query and response"
    keys = {"messages": "role and content", "conversations": "from and value", "texts": "user and assistant"}[layout]
    return f"a list in {shorten(fields.messages)} whose items have {keys}"


def _first_present(values: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in values), None)


def _read_fields_layout(reader: RowReader, fields: FieldMap) -> list[DraftTurn] | None:
    text = reader.read_field("text", fields.text)
    images = _read_images(reader, fields)
    response = reader.read_field("response", fields.response)
    if text is None or images is None or response is None:
        return None
    return [*_read_system(reader, fields), DraftTurn("user", (*images, text)), DraftTurn("assistant", (response,))]


def _read_vqa_layout(reader: RowReader, fields: FieldMap) -> list[DraftTurn] | None:
    text = reader.read_field("text", fields.text)
    images = _read_images(reader, fields)
    response = _read_answer(reader, fields.response)
    if text is None or images is None or response is None:
        return None
    return [*_read_system(reader, fields), DraftTurn("user", (*images, text)), DraftTurn("assistant", (response,))]


def _read_captions_layout(reader: RowReader, fields: FieldMap) -> list[DraftTurn] | None:
    images = _read_images(reader, fields)
    response = _read_answer(reader, fields.response)
    if images == []:
        reader.add_problem(fields.image, "has a caption but no image")
    if not images or response is None:
        return None
    return [
        *_read_system(reader, fields),
        DraftTurn("user", (*images, fields.caption_prompt)),
        DraftTurn("assistant", (response,)),
    ]


def _read_images(reader: RowReader, fields: FieldMap) -> list[int] | None:
    name = chat_layouts.find_images_field(reader.values, fields)
    if name is None:
        reader.add_missing_field("image", fields.image)
        return None
    return reader.read_images(name)


def _read_system(reader: RowReader, fields: FieldMap) -> list[DraftTurn]:
    name = fields.system or "system"
    if reader.values.get(name) in (None, ""):
        return []
    text = reader.read_text(name, reader.values[name])
    return [DraftTurn("system", (text,))] if text is not None else []


def _read_answer(reader: RowReader, name: str) -> str | None:
    """The answer of a field; of several answers the most frequent, of equally frequent ones the first."""
    if name not in reader.values:
        reader.add_missing_field("response", name)
        return None
    value = reader.values[name]
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]
    if not isinstance(value, list):
        return reader.read_text(name, value)
    answers = [item.get("answer") if isinstance(item, Mapping) else item for item in value]
    if not answers:
        reader.add_problem(name, "is empty")
        return None
    for index, answer in enumerate(answers, 1):
        if reader.read_text(name, answer, which=f"item {index} ") is None:
            return None
    return str(Counter(answers).most_common(1)[0][0])


_READERS: Final[Mapping[str, LayoutReader]] = {
    "fields": _read_fields_layout,
    "messages": chat_layouts.read_turns,
    "conversations": chat_layouts.read_turns,
    "texts": chat_layouts.read_pairs,
    "alpaca": chat_layouts.read_alpaca,
    "vqa": _read_vqa_layout,
    "captions": _read_captions_layout,
}

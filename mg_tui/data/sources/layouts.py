"""The layouts of rows: how one is detected, and how each is read as a conversation."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from mg_tui.data.boxes import BOX_COLUMN, BoxProblem, RowObjects, read_objects, require_placeholders
from mg_tui.data.embedded_images import EmbeddedImageStore
from mg_tui.data.field_map import FIELD_ALIASES, DraftTurn, ExampleDraft, FieldMap
from mg_tui.data.row_problems import RowProblem, safe_line
from mg_tui.data.row_reader import RowReader, list_fields
from mg_tui.data.row_weight import parse_weight
from mg_tui.data.rows import Row
from mg_tui.data.sources import chat_layouts, label_studio, single_questions
from mg_tui.data.sources.base import Certainty
from mg_tui.data.sources.column_values import is_empty
from mg_tui.data.sources.columns import (
    ALPACA_ANSWERS,
    ALPACA_QUESTIONS,
    account_columns,
    alpaca_columns,
    find_images_field,
    without_ignored,
)

# Descriptions of the layouts.
LAYOUTS: Final[Mapping[str, str]] = {
    "fields": "question, images and answer in separate fields",
    "messages": "turns with role and content (OpenAI, LLaMA-Factory, ms-swift)",
    "conversations": "turns with from and value (LLaVA, ShareGPT)",
    "texts": "turns with user and assistant (The Cauldron)",
    "alpaca": "instruction, input and output (Alpaca, LLaMA-Factory)",
    "vqa": "question, images and one or more answers (visual question answering)",
    "captions": "an image with a caption or label",
    "choices": "a question with options, which are written into it, and the letter of one",
    "labelstudio": "a task of Label Studio with its annotation",
}

# Formats in which other columns beside an image are its caption by convention: those of tables on the Hub are "text",
# and "label" for the names of classes.
_CAPTION_FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("imagefolder", "webdataset"), ("text", "label")),
    **dict.fromkeys(("parquet", "arrow", "saved", "hub"), ("text", "label")),
}
_CAPTION_FIELDS: Final = ("caption", "captions", "description")
# Names of questions and answers as datasets on the Hub, ms-swift ("problem", "solution", "targets") and PaliGemma
# ("prefix", "suffix") have them.
_QUESTION_FIELDS: Final = ("question", "problem", "prefix", "query", "prompt", "instruction")
_ANSWER_FIELDS: Final = (
    "answer",
    "answers",
    "multiple_choice_answer",
    "response",
    "label",
    "suffix",
    "solution",
    "targets",
    "target",
    "answer_key",
)

LayoutReader = Callable[[RowReader, FieldMap], list[DraftTurn] | None]


def to_draft(row: Row, layout: str, fields: FieldMap, store: EmbeddedImageStore) -> ExampleDraft | list[RowProblem]:
    """The row's conversation and images, or every problem with its fields (their `raw` is left empty).

    Images inside the row are written to `store`.

    Raises:
        EnvironmentProblem: `store` cannot be written.
    """
    if row.values is None:
        return [row.problem] if row.problem is not None else []
    values = without_ignored(row.values, fields)
    reader = RowReader(row, values, store, fields.ignored)
    account = account_columns(values, layout, fields)
    for name, (what, hint) in account.refused.items():
        reader.add_problem(name, what, hint)
    turns = _READERS[layout](reader, fields)
    objects = _read_objects(reader, turns or (), fields)
    weight = parse_weight(row.number, values, fields.weight)
    if isinstance(weight, RowProblem):
        reader.problems.append(weight)
    if reader.problems or turns is None or isinstance(weight, RowProblem):
        return reader.problems
    return ExampleDraft(
        row.number,
        tuple(turns),
        tuple(reader.images),
        row.offset,
        row.length,
        weight,
        find_images_field(values, fields) or fields.image,
        _shared(account.unused + tuple(sorted(reader.unused_keys))),
        _shared(tuple(sorted(reader.text_markers))),
        reader.references,
        objects,
        fields.boxes,
    )


def _read_objects(reader: RowReader, turns: Sequence[DraftTurn], fields: FieldMap) -> RowObjects | None:
    """The names and boxes of the row, where they are read; a problem is added where they do not fit its text."""
    value = reader.values.get(BOX_COLUMN)
    if not turns or fields.boxes is None or is_empty(value):
        return None
    try:
        objects = read_objects(value, len(reader.images))
        require_placeholders(objects, [part for turn in turns for part in turn.parts if isinstance(part, str)])
    except BoxProblem as error:
        reader.add_problem(BOX_COLUMN, str(error))
        return None
    return objects


@lru_cache(maxsize=4096)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """One tuple for all rows that have the same names."""
    return names


def detect_layout(
    rows: Sequence[Row], fields: FieldMap | None = None, *, format: str = "jsonl"
) -> tuple[str, FieldMap, Certainty, str]:
    """The layout that most rows match: its key, its fields, the certainty, and the reason.

    Args:
        rows: some of the first rows.
        fields: as far as the user named them.
        format: a key of `FORMATS`; in some, `text` beside an image is its caption.
    """
    fields = (fields or FieldMap()).mark_explicit()
    matches: Counter[tuple[str, FieldMap]] = Counter()
    usable = [without_ignored(row.values, fields) for row in rows if row.values is not None]
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
    fields = fields.mark_explicit()
    values = next((without_ignored(row.values, fields) for row in rows if row.values is not None), {})
    if layout not in ("vqa", "captions", "choices"):
        return fields
    text, image, response = fields.text, fields.image, fields.response
    image = _first_with_value(values, (image, *FIELD_ALIASES["image"])) or image
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
    pair = not ALPACA_QUESTIONS.isdisjoint(values) and not ALPACA_ANSWERS.isdisjoint(values)
    if fields.response in values and (fields.text in values or (fields.image in values and not pair)):
        return "fields", fields
    if pair:
        return "alpaca", fields
    image = _first_with_value(values, (fields.image, *FIELD_ALIASES["image"]))
    if label_studio.is_task(values):
        return "labelstudio", fields
    if image and single_questions.is_parse(values.get("ground_truth")) and fields.text == "text":
        return "captions", replace(fields, image=image, response="ground_truth")
    question, answer = _first_present(values, _QUESTION_FIELDS), _first_present(values, _ANSWER_FIELDS)
    if question and answer:
        return "vqa", replace(fields, text=question, response=answer, image=image or fields.image)
    names = (*_CAPTION_FIELDS, *_CAPTION_FORMATS.get(format, ()))
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
        case "captions" if fields.response == "ground_truth":
            return f"an image in {shorten(fields.image)} and its parse in ground_truth (Donut)"
        case "choices":
            return f"{shorten(fields.text)}, options and {shorten(fields.response)}"
        case "labelstudio":
            return "data and annotations of Label Studio"
        case "captions":
            return f"an image in {shorten(fields.image)} and text in {shorten(fields.response)}, but no question"
        case "alpaca":
            question, answer = alpaca_columns(rows[0], fields) if rows else ("instruction", "output")
            standard = (question, answer) == ("instruction", "output")
            return "an instruction and an output" if standard else f"{question} and {answer}"
    keys = {"messages": "role and content", "conversations": "from and value", "texts": "user and assistant"}[layout]
    return f"a list in {shorten(fields.messages)} whose items have {keys}"


def _first_present(values: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in values), None)


def _first_with_value(values: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first column that has a value, else the first that is there."""
    return next((name for name in names if not is_empty(values.get(name))), None) or _first_present(values, names)


_READERS: Final[Mapping[str, LayoutReader]] = {
    "fields": single_questions.read_fields,
    "messages": chat_layouts.read_turns,
    "conversations": chat_layouts.read_turns,
    "texts": chat_layouts.read_pairs,
    "alpaca": chat_layouts.read_alpaca,
    "vqa": single_questions.read_vqa,
    "captions": single_questions.read_captions,
    "choices": single_questions.read_choices,
    "labelstudio": label_studio.read_tasks,
}

"""Rows that hold one question: in fields, with several answers, with options, or as a caption."""

import json
import re
import string
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from mg_tui.core.spec import CAPTION_PROMPT
from mg_tui.data.field_map import DraftTurn, FieldMap
from mg_tui.data.row_reader import RowReader
from mg_tui.data.sources.chat_layouts import read_system_text
from mg_tui.data.sources.column_values import is_empty, parse_text_list
from mg_tui.data.sources.columns import CONTEXT_COLUMNS, OPTION_LETTERS, find_images_field
from mg_tui.data.sources.markers import IMAGE_MARK, insert_images

# Asked for the letter of an option, as in LLaVA-1.5 and lmms-eval.
CHOICE_PROMPT: Final = "Answer with the option's letter from the given choices directly."
# Asked for the parse of a document (Donut) unless --caption-prompt sets another.
PARSE_PROMPT: Final = "Read this document and answer in JSON."

_LISTED_ANSWER: Final = "is a JSON list of texts: several answers, or one text?"
_LISTED_ANSWER_HINT: Final = (
    "several: name the column answers and use --dataset-layout vqa; one text: --dataset-layout fields without repeats"
)


def read_fields(reader: RowReader, fields: FieldMap) -> list[DraftTurn] | None:
    """A question, its images and its answer."""
    text = reader.read_field("text", fields.text)
    images = read_images_of(reader, fields)
    response = reader.read_field("response", fields.response)
    listed = parse_text_list(response)
    if listed is not None and len(set(listed)) < len(listed):  # annotators repeat each other, a list to learn does not
        reader.add_problem(fields.response, _LISTED_ANSWER, _LISTED_ANSWER_HINT)
    if text is None or images is None or response is None:
        return None
    return question_and_answer(reader, fields, text, images, response)


def read_vqa(reader: RowReader, fields: FieldMap) -> list[DraftTurn] | None:
    """A question, its images and one or more answers."""
    text = reader.read_field("text", fields.text)
    images = read_images_of(reader, fields)
    response = read_answer(reader, fields.response)
    if text is None or images is None or response is None:
        return None
    return question_and_answer(reader, fields, text, images, response)


def read_captions(reader: RowReader, fields: FieldMap) -> list[DraftTurn] | None:
    """An image and its caption, or the parse of a document."""
    images = read_images_of(reader, fields)
    if images == []:
        reader.add_problem(fields.image, "has a caption but no image")
    if is_parse(reader.values.get(fields.response)):
        return _read_parse(reader, fields, images) if images else None
    response = read_answer(reader, fields.response)
    if not images or response is None:
        return None
    return question_and_answer(reader, fields, fields.caption_prompt, images, response)


def _read_parse(reader: RowReader, fields: FieldMap, images: list[int]) -> list[DraftTurn] | None:
    """The turns of a row of Donut: its parse as JSON, or its questions and answers."""
    parse = json.loads(reader.values[fields.response])
    pairs = parse.get("gt_parses")
    if (
        isinstance(pairs, list)
        and pairs
        and all(isinstance(p, Mapping) and {"question", "answer"} <= p.keys() for p in pairs)
    ):
        turns = []
        for pair in pairs:
            question = reader.read_text(fields.response, pair["question"])
            answer = reader.read_text(fields.response, pair["answer"])
            if question is None or answer is None:
                return None
            turns += [DraftTurn("user", (question,)), DraftTurn("assistant", (answer,))]
        return insert_images(reader, fields.response, turns, images, range(len(turns)))
    prompt = PARSE_PROMPT if fields.caption_prompt == CAPTION_PROMPT else fields.caption_prompt
    answer = json.dumps(parse.get("gt_parse", pairs), ensure_ascii=False)
    return question_and_answer(reader, fields, prompt, images, answer)


def read_choices(reader: RowReader, fields: FieldMap) -> list[DraftTurn] | None:
    """A question with its options written into it, one a line, as LLaVA and lmms-eval write them; the answer is a
    letter, whether the row has the letter, the number of the option or its text."""
    text = reader.read_field("text", fields.text)
    images = read_images_of(reader, fields) if find_images_field(reader.values, fields) else []
    options = _read_options(reader)
    if text is None or images is None or options is None:
        return None
    answer = _option_letter(reader, fields.response, options)
    if answer is None:
        return None
    context = [v.strip() for name in CONTEXT_COLUMNS if isinstance(v := reader.values.get(name), str) and v.strip()]
    lines = [f"{letter}. {option}" for letter, option in options.items()]
    question = "\n".join([*context, text, *lines, CHOICE_PROMPT])
    return question_and_answer(reader, fields, question, images, answer)


def _read_options(reader: RowReader) -> dict[str, str] | None:
    """The options of a question by their letters."""
    name = next((name for name in ("options", "choices") if not is_empty(reader.values.get(name))), None)
    value: Any = reader.values[name] if name is not None else None
    if name is None:
        value = {letter: reader.values[letter] for letter in OPTION_LETTERS if not is_empty(reader.values.get(letter))}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = [line for line in value.splitlines() if line.strip()]
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]  # {"text": [...], "label": ["A", "B"]}, as in ARC
    if isinstance(value, list):
        value = dict(zip(string.ascii_uppercase, value, strict=False))
    if (
        not isinstance(value, Mapping)
        or len(value) < 2
        or not all(isinstance(v, str) and v.strip() for v in value.values())
    ):
        reader.add_problem(name or "options", "does not have two or more options that are texts")
        return None
    # Options that begin with their letters keep them once.
    return {str(k): re.sub(rf"^\(?{re.escape(str(k))}[.):]\s*", "", v.strip()) for k, v in value.items()}


def _option_letter(reader: RowReader, name: str, options: Mapping[str, str]) -> str | None:
    """The letter of the right option: the answer is a letter, the text of an option, or its number from 0."""
    value = reader.values.get(name)
    letters = list(options)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(letters):
        return letters[value]
    if isinstance(value, str):
        stripped = value.strip().strip("().: ")
        if stripped in options:
            return stripped
        matching = [letter for letter, option in options.items() if option == value.strip()]
        if len(matching) == 1:
            return matching[0]
    if name not in reader.values:
        reader.add_missing_field("response", name)
    else:
        listed = ", ".join(letters)
        reader.add_problem(
            name, f"is not one of the options: a letter ({listed}), an option's text, or its number from 0"
        )
    return None


def is_parse(value: Any) -> bool:
    """Whether a value is Donut's ground truth: JSON text of an object with gt_parse or gt_parses."""
    if not isinstance(value, str) or '"gt_parse' not in value[:64]:
        return False
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return False
    return isinstance(parsed, dict) and ("gt_parse" in parsed or "gt_parses" in parsed)


def question_and_answer(
    reader: RowReader, fields: FieldMap, question: str, images: list[int], answer: str
) -> list[DraftTurn] | None:
    """A question with its images at their placeholders, or before it, and the answer, whose text has none.

    A row without images has no placeholder either: `<image>` in its question is text.
    """
    turns = [DraftTurn("user", (question,)), DraftTurn("assistant", (answer,))]
    literal = (1,) if images or IMAGE_MARK not in question else (0, 1)
    placed = insert_images(reader, fields.text, turns, images, literal)
    return None if placed is None else [*read_system(reader, fields), *placed]


def read_images_of(reader: RowReader, fields: FieldMap) -> list[int] | None:
    """The indexes of the row's images; None, with a problem added, when one cannot be used."""
    name = find_images_field(reader.values, fields)
    if name is None:
        reader.add_missing_field("image", fields.image)
        return None
    return reader.read_images(name)


def read_system(reader: RowReader, fields: FieldMap) -> list[DraftTurn]:
    """The system message of a row, if it has one."""
    text = read_system_text(reader, fields)
    return [DraftTurn("system", (text,))] if text is not None else []


def read_answer(reader: RowReader, name: str) -> str | None:
    """The answer of a field; of several answers the most frequent, of equally frequent ones the first.

    All of several answers become the reader's `references`.
    """
    if name not in reader.values:
        reader.add_missing_field("response", name)
        return None
    value = reader.values[name]
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]
    listed = parse_text_list(value)
    if listed is not None and not name.endswith("s"):
        reader.add_problem(name, _LISTED_ANSWER, _LISTED_ANSWER_HINT)
        return None
    value = value if listed is None else listed
    if not isinstance(value, list):
        return reader.read_text(name, value)
    answers = [item.get("answer") if isinstance(item, Mapping) else item for item in value]
    if not answers:
        reader.add_problem(name, "is empty")
        return None
    for index, answer in enumerate(answers, 1):
        if reader.read_text(name, answer, which=f"item {index} ") is None:
            return None
    if len(answers) > 1:
        reader.references = tuple(sys.intern(str(answer)) for answer in answers)  # many rows have the same few
    return str(Counter(answers).most_common(1)[0][0])

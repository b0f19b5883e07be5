"""The account of a row's columns: every column is read for a purpose, unused, or refused.

A column is refused when leaving it out would change what the row means (a video, the options of a question, a rejected
answer), or when it could be read for a purpose that another column is read for. `--ignore-column` reads rows as if they
did not have it.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from mg_tui.data.boxes import BOX_COLUMN
from mg_tui.data.field_map import FIELD_ALIASES, FieldMap
from mg_tui.data.row_problems import safe_line
from mg_tui.data.sources.column_values import (
    as_text,
    has_image_parts,
    image_list,
    is_empty,
    is_number,
    leaf_texts,
    looks_like_image,
)

CHAT_LAYOUTS: Final = ("messages", "conversations", "texts")
TURN_COLUMNS: Final = ("messages", "conversations", "conversation", "dialog", "chat", "texts", "contents")
SYSTEM_COLUMNS: Final = ("system", "system_prompt", "system_message", "systemInstruction", "system_instruction")
OPTION_COLUMNS: Final = ("options", "choices")
CONTEXT_COLUMNS: Final = ("context", "hint", "passage", "lecture")
OPTION_LETTERS: Final = ("A", "B", "C", "D", "E", "F")
IMAGE_COLUMNS: Final = ("images", "image", "image_path", "image_paths")
QUESTION_COLUMNS: Final = ("text", "question", "prompt", "instruction", "query", "input", "problem", "prefix")
ANSWER_COLUMNS: Final = (
    "response",
    "answer",
    "answers",
    "output",
    "completion",
    "target",
    "multiple_choice_answer",
    "label",
    "suffix",
    "solution",
    "targets",
    "answer_key",
)
ALPACA_QUESTIONS: Final = frozenset({"instruction", "query", "prompt"})
ALPACA_ANSWERS: Final = frozenset({"output", "response", "completion"})
CAPTION_COLUMNS: Final = ("caption", "captions", "description")

_MEDIA: Final = "has video or audio, which is not supported"
_BOXES: Final = "has bounding boxes outside the text, which are not supported"
_PREFERENCE: Final = "has ranked or scored answers, which are not supported"
_TOOLS: Final = "has tools, which are not supported"
_LOSS: Final = "has a loss weight, which is not read"
_HISTORY: Final = "has earlier turns, which this layout does not read"
_SYSTEM: Final = "may be the system message, too"
_PIXELS: Final = "limits the pixels of one row, which is not supported"
_OPTIONS: Final = "has the options of the question, which are not read"
_CONTEXT: Final = "has context of the question, which is not read"

# Columns that change what a row means, in every layout.
_MEANINGFUL: Final[Mapping[str, str]] = {
    **dict.fromkeys(("video", "videos", "audio", "audios", "video_path", "audio_path", "speech"), _MEDIA),
    **dict.fromkeys(("objects", "bbox", "bboxes", "boxes", "bounding_boxes"), _BOXES),
    **dict.fromkeys(("chosen", "rejected", "kto_tag", "kto_label", "ranking", "preference"), _PREFERENCE),
    **dict.fromkeys(("tools", "functions", "tool_calls", "function_call"), _TOOLS),
    **dict.fromkeys(
        ("loss_scale", "loss_weight", "loss_weights", "sample_weight", "sample_weights", "weight", "weights"), _LOSS
    ),
    "history": _HISTORY,
    **dict.fromkeys((name.lower() for name in SYSTEM_COLUMNS), _SYSTEM),
    **dict.fromkeys(("max_pixels", "min_pixels"), _PIXELS),
}
# Columns that change what a single question means. A conversation has them in its turns.
_MEANINGFUL_TO_QUESTIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(OPTION_COLUMNS, _OPTIONS),
    **dict.fromkeys(CONTEXT_COLUMNS, _CONTEXT),
}
_HINTS: Final[Mapping[str, str]] = {
    _BOXES: "include the boxes in the answer, as --box-format does for ms-swift's objects",
    _PREFERENCE: "write a dataset of the good answers",
    _LOSS: "read it with --weight-field {flag}",
    _OPTIONS: "have them written into the question with --dataset-layout choices",
    _CONTEXT: "write it into the question",
}
_NUMBERED_IMAGE: Final = re.compile(r"(?:image|img|picture|photo)s?[-_ ]?\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ColumnAccount:
    """What became of every column of a row.

    Attributes:
        read: the purpose of each column that is read.
        unused: columns with a value that is not read, in the order of the row.
        refused: columns without which the row would mean something else, each with the reason and a hint.
    """

    read: Mapping[str, str]
    unused: tuple[str, ...]
    refused: Mapping[str, tuple[str, str]]


def without_ignored(values: Mapping[str, Any], fields: FieldMap) -> Mapping[str, Any]:
    """The values without the columns that the user ignores."""
    if not fields.ignored or not fields.ignored.intersection(values):
        return values
    return {name: value for name, value in values.items() if name not in fields.ignored}


def find_images_field(values: Mapping[str, Any], fields: FieldMap) -> str | None:
    """The column with the row's images: the one the user named, else the first known one with a value, else the first
    known one."""
    names = [name for name in (fields.image, *IMAGE_COLUMNS) if name in values]
    if not names or ("image" in fields.explicit and names[0] == fields.image):
        return names[0] if names else None
    return next((name for name in names if not is_empty(values[name])), names[0])


def find_system_field(values: Mapping[str, Any], fields: FieldMap) -> str:
    """The column with the row's system message, whether or not the row has it: the first of its names with a value."""
    names = (fields.system,) if fields.system else SYSTEM_COLUMNS
    return next((name for name in names if not is_empty(values.get(name))), names[0])


def alpaca_columns(values: Mapping[str, Any], fields: FieldMap) -> tuple[str, str]:
    """The columns of question and answer in the layout "alpaca", whether or not the row has them."""
    questions = [*(("instruction", "query", "prompt")), fields.text]
    answers = ["output", "response", "completion", fields.response]
    if "text" in fields.explicit:
        questions.insert(0, fields.text)
    if "response" in fields.explicit:
        answers.insert(0, fields.response)
    return (
        next((name for name in questions if name in values), "instruction"),
        next((name for name in answers if name in values), "output"),
    )


def read_columns(values: Mapping[str, Any], layout: str, fields: FieldMap) -> dict[str, str]:
    """The columns that a layout reads, each with its purpose; `values` are without ignored ones."""
    purposes: dict[str, str | None] = {}
    if layout in CHAT_LAYOUTS:
        names = (fields.messages,) if fields.messages else TURN_COLUMNS
        purposes["turns"] = next((name for name in names if name in values), None)
    elif layout == "alpaca":
        purposes["question"], purposes["answer"] = alpaca_columns(values, fields)
        purposes["input"], purposes["earlier turns"] = fields.input or "input", fields.history or "history"
    else:
        purposes["question"] = fields.text if layout != "captions" else None
        purposes["answer"] = fields.response
    purposes["images"] = find_images_field(values, fields)
    purposes["system"] = find_system_field(values, fields)
    purposes["weight"] = fields.weight
    purposes["boxes"] = BOX_COLUMN if fields.boxes is not None else None
    by_name = {name: purpose for purpose, name in purposes.items() if name is not None}
    if layout == "choices":
        by_name |= dict.fromkeys((*OPTION_COLUMNS, *OPTION_LETTERS), "options")
        by_name |= dict.fromkeys(CONTEXT_COLUMNS, "context")
    elif layout == "labelstudio":
        by_name = {"data": "images and question", "annotations": "answer"}
    elif layout == "messages" and fields.messages == "prompt" and "completion" in values:
        by_name["completion"] = "turns"
    return {name: by_name[name] for name in values if name in by_name}


def account_columns(values: Mapping[str, Any], layout: str, fields: FieldMap) -> ColumnAccount:
    """What becomes of every column of a row in this layout; `values` are without ignored ones."""
    read = read_columns(values, layout, fields)
    unused = [name for name in values if name not in read and name != "__key__" and not is_empty(values[name])]
    refused: dict[str, tuple[str, str]] = {}
    for name in unused:
        if reason := _reason_to_refuse(name, unused, values, read, layout, fields):
            what, hint = reason
            flag = shlex.quote(safe_line(name, limit=40))
            ignore = f"ignore it with --ignore-column {flag}"
            refused[name] = what, f"{hint.format(flag=flag)}, or {ignore}" if hint else ignore
    return ColumnAccount(read, tuple(name for name in unused if name not in refused), refused)


def _reason_to_refuse(
    name: str,
    unused: Sequence[str],
    values: Mapping[str, Any],
    read: Mapping[str, str],
    layout: str,
    fields: FieldMap,
) -> tuple[str, str | None] | None:
    """Why an unread column is refused, and a hint in which {flag} stands for its name."""
    value, kind = values[name], _kind_of_column(name)
    if kind in _ALWAYS_REFUSED:
        if kind == _LOSS and ((not is_number(value) and not isinstance(value, list)) or value == 1):
            return None
        return kind, _HINTS.get(kind)
    if name == "label" and (isinstance(value, bool) or as_text(value).lower() in ("true", "false")):
        return _PREFERENCE, _HINTS[_PREFERENCE]
    if name == "label" and layout in CHAT_LAYOUTS and is_number(value):
        return _PREFERENCE, _HINTS[_PREFERENCE]
    if kind == "image" and (reason := _other_image(name, values, read, layout, fields)):
        return reason
    if layout in CHAT_LAYOUTS:
        if name in TURN_COLUMNS and "messages" not in fields.explicit and _is_other_conversation(name, values, read):
            return "may be the conversation, too", "name one of them with --messages-field"
        return None
    question = "\n".join(leaf_texts([values[n] for n, purpose in read.items() if purpose in ("question", "input")]))
    answers = list(leaf_texts([values[n] for n, purpose in read.items() if purpose == "answer"]))
    if kind in (_OPTIONS, _CONTEXT) or (name in OPTION_LETTERS and {"A", "B"} <= set(unused)):
        what = _OPTIONS if name in OPTION_LETTERS else str(kind)
        return None if all(text.strip() in question for text in leaf_texts(value)) else (what, _HINTS[what])
    if name in QUESTION_COLUMNS and "text" not in fields.explicit and (question or layout == "captions"):
        return _other_question(value, question, answers, read, layout)
    competing = (*CAPTION_COLUMNS, "label") if layout == "captions" else ANSWER_COLUMNS
    if (
        name in competing
        and "response" not in fields.explicit
        and answers
        and not set(answers) & set(leaf_texts(value))
    ):
        return "may be the answer, too", "name one of them with --response-field"
    return None


_ALWAYS_REFUSED: Final = frozenset(_MEANINGFUL.values())


@lru_cache(maxsize=4096)
def _kind_of_column(name: str) -> str | None:
    """What a column's name says that it holds: a reason to refuse it, "image", or None."""
    lower = name.lower()
    if reason := _MEANINGFUL.get(lower) or _MEANINGFUL_TO_QUESTIONS.get(lower):
        return reason
    if lower.startswith(("rejected_", "chosen_")):
        return _PREFERENCE
    if lower in IMAGE_COLUMNS or lower in FIELD_ALIASES["image"] or _NUMBERED_IMAGE.fullmatch(lower):
        return "image"
    return None


def _other_image(
    name: str, values: Mapping[str, Any], read: Mapping[str, str], layout: str, fields: FieldMap
) -> tuple[str, str | None] | None:
    """Why a column that may hold an image is refused, though another may be read."""
    if "image" in fields.explicit or not looks_like_image(values[name]):
        return None
    column = next((column for column, purpose in read.items() if purpose == "images"), None)
    if column is None and layout in ("fields", "vqa", "captions"):
        return None  # the layout itself reports that the image is missing
    if column is None or is_empty(values[column]):
        if any(purpose == "turns" and has_image_parts(values[turns]) for turns, purpose in read.items()):
            return None
        return "looks like the image of the row, but is not read", "name it with --image-field {flag}"
    numbered = _NUMBERED_IMAGE.fullmatch(name) is not None
    plural = name.endswith("s") or column.endswith("s")
    # Other names (`image_url`, `path`) usually say once more where the same image is from.
    if (numbered or plural) and image_list(values[name]) != image_list(values[column]):
        return "may be another image of the row", None
    return None


def _other_question(
    value: Any, question: str, answers: Sequence[str], read: Mapping[str, str], layout: str
) -> tuple[str, str | None] | None:
    """Why another column that may be the question is refused; a text that renders question and answer is not one."""
    text = as_text(value)
    if not text or text.strip() == question.strip():
        return None
    if layout == "captions":
        column = shlex.quote(safe_line(next((n for n, purpose in read.items() if purpose == "answer"), ""), limit=40))
        return (
            f"may be the question of {column}",
            f"read both with --text-field {{flag}} --response-field {column}",
        )
    if question and all(part.strip() in text for part in (*question.split("\n"), *answers)):
        return None
    return "may be the question, too", "name one of them with --text-field"


def _is_other_conversation(name: str, values: Mapping[str, Any], read: Mapping[str, str]) -> bool:
    value = values[name]
    column = next((column for column, purpose in read.items() if purpose == "turns"), "")
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping) and values.get(column) != value

"""Tasks that Label Studio exports as JSON (labelstud.io/guide/export): data, and annotations with their results.

The image is the value of `data` that names one, the question its text, the answer what the annotator typed or chose.
Boxes, polygons, brushes and other regions have no text and are refused.
"""

from collections.abc import Mapping
from typing import Any, Final

from mg_tui.data.field_map import DraftTurn, FieldMap
from mg_tui.data.row_reader import RowReader
from mg_tui.data.sources.column_values import looks_like_image
from mg_tui.data.sources.single_questions import question_and_answer

_QUESTION_KEYS: Final = ("question", "prompt", "text", "instruction")
_TEXT_RESULTS: Final = ("textarea", "choices", "taxonomy", "number", "rating")


def is_task(values: Mapping[str, Any]) -> bool:
    """Whether a row is a task of Label Studio."""
    annotations = values.get("annotations", values.get("completions"))
    return isinstance(values.get("data"), Mapping) and isinstance(annotations, list)


def read_tasks(reader: RowReader, fields: FieldMap) -> list[DraftTurn] | None:
    """The question and the answer of a task."""
    data = reader.values.get("data")
    if not isinstance(data, Mapping):
        reader.add_problem("data", "is missing; it has the image of a task")
        return None
    answer = _read_answer(reader, reader.values.get("annotations"))
    named = data.get(fields.image) if "image" in fields.explicit else None
    image = named or next((value for value in data.values() if looks_like_image(value)), None)
    if image is None:
        reader.add_problem("data", "names no image")
        return None
    items = image if isinstance(image, list) else [image]
    images = [index for item in items if (index := reader.read_image("data", item)) is not None]
    texts = [value for key in _QUESTION_KEYS if isinstance(value := data.get(key), str) and value.strip()]
    if len(texts) > 1:
        reader.add_problem("data", f"has {len(texts)} texts that may be the question", "keep one of them")
    used = {key for key, value in data.items() if value == image or value in texts}
    reader.unused_keys.update(f"data.{key}" for key in data if key not in used)
    if answer is None or reader.problems:
        return None
    return question_and_answer(reader, fields, texts[0] if texts else fields.caption_prompt, images, answer)


def _read_answer(reader: RowReader, annotations: Any) -> str | None:
    """The text of the annotation that was not cancelled; several must agree."""
    listed = [item for item in annotations if isinstance(item, Mapping)] if isinstance(annotations, list) else []
    results = [item.get("result") for item in listed if not item.get("was_cancelled")]
    answers = []
    for result in results:
        answer = _read_result(reader, result)
        if answer is None:
            return None
        answers.append(answer)
    if not answers:
        reader.add_problem("annotations", "is empty: the task was not annotated", "export only annotated tasks")
        return None
    if len(set(answers)) > 1:
        what = f"has {len(answers)} annotations that differ"
        reader.add_problem("annotations", what, "keep the one that is right")
        return None
    return reader.read_text("annotations", answers[0])


def _read_result(reader: RowReader, result: Any) -> str | None:
    texts: list[str] = []
    names = set()
    for item in result if isinstance(result, list) else []:
        kind = item.get("type") if isinstance(item, Mapping) else None
        value = item.get("value") if isinstance(item, Mapping) else None
        if kind not in _TEXT_RESULTS or not isinstance(value, Mapping):
            what = f"has a result of type {kind}, which is not text" if isinstance(kind, str) else "has no results"
            reader.add_problem("annotations", what, "write regions into answers as text")
            return None
        names.add(item.get("from_name"))
        found = value.get("text", value.get("choices", value.get("taxonomy", value.get(str(kind)))))
        items = found if isinstance(found, list) else [found]
        texts += [", ".join(map(str, part)) if isinstance(part, list) else str(part) for part in items]
    if not texts:
        reader.add_problem("annotations", "has no text or choice", "export only annotated tasks")
        return None
    if len(names) > 1:
        reader.add_problem("annotations", f"has results of {len(names)} controls", "keep the one with the answer")
        return None
    return ", ".join(texts)

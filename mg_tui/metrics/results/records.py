"""A row that was answered, and its line of JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Self

from mg_tui.core.example import Example
from mg_tui.metrics.contract import BoxFrame, Prediction

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """A model's answer to a row of a dataset.

    Attributes:
        row: number of the row in its dataset, from 1.
        question: what the model was asked; shown to people, not scored.
        answer: the text of the model; empty when it could not answer.
        references: correct answers; JSON values.
        images: paths of the row's images.
        columns: other columns of the dataset, to group by; JSON values.
        boxes: units and sizes for boxes.
        error: why there is no answer; the row counts as answered with nothing.
        timing: what depends on the machine (seconds, tokens a second); kept with the answer, in no final file.
    """

    row: int
    question: str
    answer: str
    references: tuple[Any, ...]
    images: tuple[str, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    boxes: BoxFrame | None = None
    error: str | None = None
    timing: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, example: Example, answer: str, references: Sequence[Any] = (), **fields: Any) -> Self:
        """The answer to an example of a dataset.

        Args:
            references: correct answers; those of the example where there are none, or else its last answer.
            fields: others of this class, such as `columns`, `timing`, `boxes` or `error`.
        """
        questions = [message.text for message in example.prompt if message.role == "user"]
        return cls(
            row=example.row,
            question=questions[-1].strip() if questions else "",
            answer=answer,
            references=tuple(references) or example.references or (example.response,),
            images=tuple(image.path for image in example.images),
            **fields,
        )

    @property
    def prediction(self) -> Prediction:
        """The row as metrics read it."""
        return Prediction(self.row, self.answer, self.references, self.images, self.boxes)

    def line(self) -> bytes:
        """The row as a line of JSON, its end included."""
        values: dict[str, Any] = {
            "row": self.row,
            "question": self.question,
            "answer": self.answer,
            "references": self.references,
            "images": self.images,
            "columns": self.columns,
        }
        if self.boxes is not None:
            values["boxes"] = asdict(self.boxes)
        if self.error is not None:
            values["error"] = self.error
        if self.timing:
            values["timing"] = self.timing
        return json_line(values)


def parse_row(line: bytes) -> AnsweredRow | None:
    """The row of a line; None when the line is damaged."""
    try:
        values = json.loads(line)
        boxes = values.get("boxes")
        row = AnsweredRow(
            row=values["row"],
            question=values["question"],
            answer=values["answer"],
            references=tuple(values["references"]),
            images=tuple(values["images"]),
            columns=values["columns"],
            boxes=None if boxes is None else _frame(boxes),
            error=values.get("error"),
            timing=values.get("timing", {}),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    sound = isinstance(row.row, int) and isinstance(row.answer, str) and isinstance(row.columns, dict)
    return row if sound else None


def _frame(values: dict[str, Any]) -> BoxFrame:
    frame = BoxFrame(**values)
    return replace(
        frame,
        image=None if frame.image is None else (frame.image[0], frame.image[1]),
        seen=None if frame.seen is None else (frame.seen[0], frame.seen[1]),
    )


def json_line(value: Any) -> bytes:
    """A value as one line of JSON in UTF-8, its end included."""
    return (json.dumps(json_safe(value), ensure_ascii=False, allow_nan=False) + "\n").encode()


def json_safe(value: Any) -> Any:
    """A value as JSON has it: what it has no type for becomes a text, halves of surrogate pairs are replaced."""
    if isinstance(value, str):
        # Through UTF-16, where two halves that belong together become the character they are.
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {json_safe(str(key)): json_safe(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [json_safe(inner) for inner in value]
    return json_safe(str(value))

"""From a row's fields to a conversation: which field has which purpose, and which values it may have."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, MessagePart, Role, TextPart
from mg_tui.core.spec import CAPTION_PROMPT, TrainingSpec
from mg_tui.core.text import closest_match
from mg_tui.data.embedded_images import EmbeddedImage, EmbeddedImageStore, ImageInput, decode_base64
from mg_tui.data.images import ImageError
from mg_tui.data.jsonl import describe_type
from mg_tui.data.row_problems import RowProblem, quote_text, safe_line
from mg_tui.data.rows import Row

FieldPurpose = Literal["text", "image", "response"]
SupervisedAnswers = Literal["all", "last"]

# Common names of these fields, most likely first.
FIELD_ALIASES: Final[Mapping[FieldPurpose, tuple[str, ...]]] = {
    "text": ("question", "prompt", "instruction", "query", "input", "text"),
    "image": (
        "image",
        "img_path",
        "image_path",
        "img",
        "path",
        "file_name",
        "filename",
        "images",
        "picture",
        "url",
        "image_url",
    ),
    "response": ("answer", "caption", "output", "response", "label", "target", "description", "completion"),
}
_MAX_LISTED_FIELDS: Final = 12
_LONE_SURROGATE: Final = "contains a lone surrogate"
_LONE_SURROGATE_HINT: Final = "remove escapes such as \\ud83d that stand alone"
_NO_IMAGE_HINT: Final = "use null or [] for a row without an image"


@dataclass(frozen=True, slots=True)
class TurnKeys:
    """The keys of a turn's role and content, and names of roles in addition to the standard ones.

    A key that is None is detected.
    """

    role: str | None = None
    content: str | None = None
    user: str | None = None
    assistant: str | None = None
    system: str | None = None


@dataclass(frozen=True, slots=True)
class FieldMap:
    """The names of a row's fields by purpose. A field that is None is detected among its common names.

    Attributes:
        text, image, response: the question, the image or images, and the answer.
        weight: the factor of the row's loss; None for 1.
        messages: the turns of a conversation.
        system: the system message.
        input, history: text appended to the question, and earlier turns, in the layout "alpaca".
        caption_prompt: the question of a row that has an image and a caption, but no question.
        supervised_answers: which answers of a conversation are supervised.
        turn_keys: the keys of turns.
    """

    text: str = "text"
    image: str = "image"
    response: str = "response"
    weight: str | None = None
    messages: str | None = None
    system: str | None = None
    input: str | None = None
    history: str | None = None
    caption_prompt: str = CAPTION_PROMPT
    supervised_answers: SupervisedAnswers = "all"
    turn_keys: TurnKeys = field(default_factory=TurnKeys)

    @classmethod
    def from_spec(cls, spec: TrainingSpec, *, evaluation: bool = False) -> "FieldMap":
        """The fields that the options of a run name. Evaluation ignores weights."""
        return cls(
            text=spec.text_field,
            image=spec.image_field,
            response=spec.response_field,
            weight=None if evaluation else spec.weight_field,
            messages=spec.messages_field,
            caption_prompt=spec.caption_prompt,
            supervised_answers=spec.learned_answers,
        )

    def require_distinct(self) -> None:
        """Raises DataError when two purposes have the same field: the answer would be part of the question."""
        if len({self.text, self.image, self.response}) < 3:
            raise DataError(
                "text, image and response must be different fields",
                why=", ".join(f"{name} is {quote_text(getattr(self, name))}" for name in ("text", "image", "response")),
                hint="set them with --text-field, --image-field and --response-field",
            )


@dataclass(frozen=True, slots=True)
class DraftTurn:
    """One turn: texts, and images by their index in the row. `supervised` matters for answers only."""

    role: Role
    parts: tuple[str | int, ...]
    supervised: bool = True

    @property
    def text(self) -> str:
        """The texts joined."""
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class ExampleDraft:
    """A row whose fields are valid and whose images have not been probed. `offset`, `length`: its bytes in the file."""

    row: int
    turns: tuple[DraftTurn, ...]
    images: tuple[ImageInput, ...]
    offset: int = 0
    length: int = 0
    weight: float = 1.0
    image_field: str = "image"

    @property
    def text(self) -> str:
        """The texts of all user turns, one line each."""
        return "\n".join(turn.text for turn in self.turns if turn.role == "user")

    @property
    def response(self) -> str:
        """The last answer."""
        return self.turns[-1].text

    def to_example(self, images: Sequence[ImageRef], system_prompt: str | None) -> Example:
        """The conversation, with `system_prompt` as its first message unless it has a system message."""
        messages = [
            Message(turn.role, tuple(_to_message_part(part, images) for part in turn.parts), turn.supervised)
            for turn in self.turns
        ]
        if system_prompt and all(turn.role != "system" for turn in self.turns):
            messages.insert(0, Message("system", (TextPart(system_prompt),)))
        return Example(self.row, tuple(messages), self.weight)


def _to_message_part(part: str | int, images: Sequence[ImageRef]) -> MessagePart:
    return TextPart(part) if isinstance(part, str) else ImagePart(images[part])


class RowReader:
    """Reads one row's fields; collects their problems (with an empty `raw`) and the row's images in order."""

    def __init__(self, row: Row, values: Mapping[str, Any], store: EmbeddedImageStore):
        self.row = row
        self.values = values
        self.problems: list[RowProblem] = []
        self.images: list[ImageInput] = []
        self._store = store

    def add_problem(self, name: str | None, what: str, hint: str | None = None) -> None:
        """Add a problem of the row."""
        self.problems.append(RowProblem(self.row.number, name, what, hint))

    def read_text(self, name: str, value: Any, *, which: str = "", empty: bool = False) -> str | None:
        """A value as text, or None with a problem added. `which` starts the reason; `empty` allows an empty text."""
        if not isinstance(value, str):
            hint = "quote numeric answers" if isinstance(value, int | float) else None
            self.add_problem(name, f"{which}is {describe_type(value)}, expected text", hint)
        elif not empty and not value.strip():
            self.add_problem(name, f"{which}is empty")
        elif _has_lone_surrogate(value):
            self.add_problem(name, f"{which}{_LONE_SURROGATE}", _LONE_SURROGATE_HINT)
        else:
            return value
        return None

    def read_field(self, purpose: FieldPurpose, name: str) -> str | None:
        """The text of a required field."""
        if name not in self.values:
            self.add_missing_field(purpose, name)
            return None
        return self.read_text(name, self.values[name])

    def add_missing_field(self, purpose: FieldPurpose, name: str) -> None:
        """Add the problem that a field is missing, with a suggestion."""
        names = list(self.values)
        flag = f"--{purpose}-field"
        aliases = [alias for alias in FIELD_ALIASES[purpose] if alias in names]
        guess = next(iter(aliases), None) or closest_match(name, names)
        hint = f"set the field with {flag}" + (
            f", e.g. {flag} {shlex.quote(safe_line(guess, limit=40))}" if guess else ""
        )
        self.add_problem(name, f"is missing; the row has {list_fields(names)}", hint)

    def read_image(self, name: str, value: Any, *, which: str = "") -> int | None:
        """Add an image of the row; its index, or None with a problem added."""
        try:
            image = self._to_image_input(name, value, which)
        except ImageError as error:
            self.add_problem(name, f"{which}{error.reason}", error.hint)
            return None
        if image is None:
            return None
        self.images.append(image)
        return len(self.images) - 1

    def read_images(self, name: str) -> list[int] | None:
        """The indexes of a field's images: one image, a list, or null; None when one cannot be used."""
        value = _parse_json_list(self.values[name])
        items = [] if value is None else value if isinstance(value, list) else [value]
        indexes = [
            self.read_image(name, item, which=f"item {index} " if isinstance(value, list) else "")
            for index, item in enumerate(items, 1)
        ]
        return None if None in indexes else [index for index in indexes if index is not None]

    def _to_image_input(self, name: str, value: Any, which: str) -> ImageInput | None:
        if isinstance(value, bytes):
            return self._store.store(value, f"image of {len(value):,} bytes")
        if isinstance(value, Mapping):
            return self._image_from_object(name, value, which)
        if not isinstance(value, str):
            self.add_problem(name, f"{which}is {describe_type(value)}, expected a path or URL", _NO_IMAGE_HINT)
        elif not value.strip():
            self.add_problem(name, f"{which}is empty", _NO_IMAGE_HINT)
        elif _has_lone_surrogate(value):
            self.add_problem(name, f"{which}{_LONE_SURROGATE}", _LONE_SURROGATE_HINT)
        else:
            return self._store.store_text(value) or value
        return None

    def _image_from_object(self, name: str, value: Mapping[str, Any], which: str) -> ImageInput | None:
        """An image as an object: bytes and path as in `datasets`, or a form that chat templates use."""
        path = next(
            (value[key] for key in ("path", "url", "file_name", "image") if isinstance(value.get(key), str)), ""
        )
        data = value.get("bytes")
        if isinstance(data, str):
            data = decode_base64(data)
        if data is None and isinstance(value.get("base64"), str):
            data = decode_base64(value["base64"])
        if isinstance(data, bytes):
            return self._store.store(data, path or f"image of {len(data):,} bytes")
        if path:
            return self._to_image_input(name, path, which)
        self.add_problem(name, f"{which}is an object without bytes, path or url", _NO_IMAGE_HINT)
        return None


def list_fields(names: Sequence[str]) -> str:
    """The names of a row's fields, safe to print; "no fields" where there are none."""
    listed = ", ".join(safe_line(str(name), limit=40) for name in names[:_MAX_LISTED_FIELDS])
    return (listed or "no fields") + (
        f" and {len(names) - _MAX_LISTED_FIELDS} more" if len(names) > _MAX_LISTED_FIELDS else ""
    )


def _parse_json_list(value: Any) -> Any:
    """The list of a text that is a JSON list, as tables store it; any other value unchanged."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _has_lone_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


__all__ = [
    "CAPTION_PROMPT",
    "FIELD_ALIASES",
    "DraftTurn",
    "EmbeddedImage",
    "ExampleDraft",
    "FieldMap",
    "ImageInput",
    "RowReader",
    "TurnKeys",
    "list_fields",
]

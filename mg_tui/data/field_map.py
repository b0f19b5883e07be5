"""From a row's fields to a conversation: which field has which purpose, and which conversation a row holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Literal

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, MessagePart, Role, TextPart, with_system_prompt
from mg_tui.core.spec import CAPTION_PROMPT, TrainingSpec
from mg_tui.data.boxes import BoxFormat, RowObjects, write_objects
from mg_tui.data.embedded_images import EmbeddedImage, ImageInput
from mg_tui.data.row_problems import quote_text

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
        explicit: purposes whose field the user or a description named: other fields do not compete with it.
        boxes: how boxes of the column `objects` are written into the text; None where they are not read.
        ignored: fields that rows are read without, and placeholders of other tools that are left as text.
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
    boxes: BoxFormat | None = None
    explicit: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()

    @classmethod
    def from_spec(cls, spec: TrainingSpec, *, evaluation: bool = False) -> "FieldMap":
        """The fields that the options of a run name. Evaluation ignores weights."""
        unweighted = [spec.weight_field] if evaluation and spec.weight_field else []
        return cls(
            text=spec.text_field,
            image=spec.image_field,
            response=spec.response_field,
            weight=None if evaluation else spec.weight_field,
            messages=spec.messages_field,
            caption_prompt=spec.caption_prompt,
            supervised_answers=spec.learned_answers,
            boxes=BoxFormat.from_spec(spec),
            ignored=frozenset([*spec.ignore_column, *unweighted]),
        )

    def mark_explicit(self) -> "FieldMap":
        """These fields, those that differ from their defaults marked as named."""
        named = {
            purpose: value
            for purpose, value in (("text", self.text), ("image", self.image), ("response", self.response))
            if value != purpose
        }
        chat = ["messages"] if self.messages is not None else []
        return replace(self, explicit=frozenset([*named, *chat]))

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
    """A row whose fields are valid and whose images have not been probed. `offset`, `length`: its bytes in the file.

    `unused_columns` are its columns, and keys of its turns, that have a value but are not read; `text_markers` are
    placeholders of other tools that were left as text; `references` are its answers, where they are several. `objects`
    are the names and boxes of its placeholders, which an example has in their place, written as `box_format` says.
    """

    row: int
    turns: tuple[DraftTurn, ...]
    images: tuple[ImageInput, ...]
    offset: int = 0
    length: int = 0
    weight: float = 1.0
    image_field: str = "image"
    unused_columns: tuple[str, ...] = ()
    text_markers: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    objects: RowObjects | None = None
    box_format: BoxFormat | None = None

    @property
    def text(self) -> str:
        """The texts of all user turns, one line each."""
        return "\n".join(turn.text for turn in self.turns if turn.role == "user")

    @property
    def response(self) -> str:
        """The last answer."""
        return self.turns[-1].text

    def to_example(
        self, images: Sequence[ImageRef], system_prompt: str | None, sizes: Sequence[tuple[int, int]] | None = None
    ) -> Example:
        """The conversation, with `system_prompt` as its first message unless it has a system message.

        `sizes` are the width and height of each image; without them placeholders of boxes stay.
        """
        turns = self.turns
        if self.box_format is not None and self.objects is not None:
            write = partial(write_objects, objects=self.objects, sizes=sizes, format=self.box_format)
            turns = map_texts(turns, write)
        messages = [
            Message(turn.role, tuple(_to_message_part(part, images) for part in turn.parts), turn.supervised)
            for turn in turns
        ]
        return Example(self.row, with_system_prompt(messages, system_prompt), self.weight, self.references)


def map_texts(turns: Sequence[DraftTurn], change: Callable[[list[str]], list[str]]) -> tuple[DraftTurn, ...]:
    """The turns with all their texts changed together; as many come back, in order."""
    texts = iter(change([part for turn in turns for part in turn.parts if isinstance(part, str)]))
    return tuple(
        replace(turn, parts=tuple(next(texts) if isinstance(part, str) else part for part in turn.parts))
        for turn in turns
    )


def _to_message_part(part: str | int, images: Sequence[ImageRef]) -> MessagePart:
    return TextPart(part) if isinstance(part, str) else ImagePart(images[part])


__all__ = [
    "CAPTION_PROMPT",
    "FIELD_ALIASES",
    "DraftTurn",
    "EmbeddedImage",
    "ExampleDraft",
    "FieldMap",
    "ImageInput",
    "TurnKeys",
]

"""An Example: one conversation with its images, independent of the file format.

Images are references: they are opened when the example is encoded into a batch and closed afterwards, so a dataset
costs the memory of its text only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image by its location: an absolute path on this machine (URLs are downloaded before an Example is made).

    `original` is the text in the dataset, for messages.
    """

    path: str
    original: str


@dataclass(frozen=True, slots=True)
class TextPart:
    """A run of text inside a message."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image inside a message."""

    image: ImageRef


MessagePart = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: its role, and its text and images in order.

    `supervised` applies to assistant turns only; other turns are never supervised.
    """

    role: Role
    parts: tuple[MessagePart, ...]
    supervised: bool = True

    @property
    def text(self) -> str:
        """The text parts joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation. `row` counts rows of the source file from 1, as an editor counts its lines.

    `weight` multiplies the losses of its supervised tokens in training. `references` are the answers that the row has
    for its question, where they are several; the last message is the one that is trained on.
    """

    row: int
    messages: tuple[Message, ...]
    weight: float = 1.0
    references: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """Every image, in the order of the conversation."""
        return tuple(part.image for message in self.messages for part in message.parts if isinstance(part, ImagePart))

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the last answer: the input for generating it."""
        last = self.messages[-1] if self.messages else None
        return self.messages[:-1] if last is not None and last.role == "assistant" else self.messages

    @property
    def response(self) -> str:
        """The text of the last answer; empty when the conversation does not end in one."""
        last = self.messages[-1] if self.messages else None
        return last.text if last is not None and last.role == "assistant" else ""


def with_system_prompt(messages: Sequence[Message], prompt: str | None) -> tuple[Message, ...]:
    """The conversation with `prompt` as its system turn, unless it has one already or `prompt` is empty."""
    if not prompt or any(message.role == "system" for message in messages):
        return tuple(messages)
    return (Message("system", (TextPart(prompt),)), *messages)

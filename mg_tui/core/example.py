"""An Example: one conversation with its images, whatever file format it came from.

Images are referred to, never held: a reference is opened when the example is laid out into a batch and closed
after, so a dataset of any size costs the memory of its text.
"""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image by its location: an absolute path on this machine (URLs are downloaded before an Example is made).

    `given` is the text the dataset had, for messages about it.
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
    """One turn: who speaks, and the text and images in the order they are said.

    `learn` is whether an answer is learned; it says nothing of other turns, which never are.
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

    `weight` is what the losses of its learned tokens are multiplied by in training.
    """

    row: int
    messages: tuple[Message, ...]
    weight: float = 1.0

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """Every image, in the order the conversation shows them."""
        return tuple(part.image for message in self.messages for part in message.parts if isinstance(part, ImagePart))

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages up to and without the last answer: what a model is given to make it answer."""
        last = self.messages[-1] if self.messages else None
        return self.messages[:-1] if last is not None and last.role == "assistant" else self.messages

    @property
    def response(self) -> str:
        """The text of the last answer; empty when the conversation does not end in one."""
        last = self.messages[-1] if self.messages else None
        return last.text if last is not None and last.role == "assistant" else ""

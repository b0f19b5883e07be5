"""64-bit digests of conversations: two that are equal have, with near certainty, equal content.

Among a million rows two different ones share a digest with a probability of 3 in 100 million.
"""

import hashlib
import zlib

from mg_tui.core.example import Example, ImagePart


def text_digest(*parts: str) -> int:
    """A 64-bit digest (BLAKE2b) of texts in order; where one ends and the next begins matters."""
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        state.update(part.encode("utf-8", "surrogatepass"))
        state.update(b"\0")
    return int.from_bytes(state.digest(), "little")


def conversation_digest(example: Example) -> int:
    """A digest of the roles, texts and image paths of a conversation."""
    parts: list[str] = []
    for message in example.messages:
        parts.append(f"\1{message.role}")
        parts += [f"\2{part.image.path}" if isinstance(part, ImagePart) else part.text for part in message.parts]
    return text_digest(*parts)


def token_count_key(example: Example) -> int:
    """A digest of what decides a conversation's text tokens: roles, supervision, texts and image positions.

    Which images they are does not matter.
    """
    parts: list[str] = []
    for message in example.messages:
        parts.append(f"\1{message.role}{message.supervised:d}")
        parts += ["\2" if isinstance(part, ImagePart) else part.text for part in message.parts]
    return text_digest(*parts)


class ContentFingerprint:
    """A checksum that changes with the rows, their text, weights, image paths and order."""

    def __init__(self) -> None:
        self._value = self._count = 0

    def add(self, example: Example) -> None:
        """Add the next example."""
        text = "\0".join(
            [str(example.row), *(f"{m.role}\1{m.text}" + ("" if m.supervised else "\1") for m in example.messages)]
        )
        text += f"\0{example.weight}" if example.weight != 1.0 else ""
        paths = "\0".join(ref.path for ref in example.images)
        self._value = zlib.crc32(f"{text}\2{paths}\3".encode("utf-8", "surrogatepass"), self._value)
        self._count += 1

    @property
    def value(self) -> str:
        """The number of examples and the checksum."""
        return f"{self._count}-{self._value:08x}"

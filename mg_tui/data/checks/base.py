"""A row as the checks see it: its conversation, and what became of its images."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from mg_tui.core.example import Example, ImagePart
from mg_tui.data.checks.findings import Finding
from mg_tui.data.image_probe import ImageProbe, ProbeOutcome
from mg_tui.data.row_problems import RowProblem


@dataclass(frozen=True, slots=True)
class LoadedRow:
    """One row.

    Attributes:
        row: its number.
        example: its conversation; None when its fields are wrong or an image cannot be used.
        problems: what is wrong with the row or its fields.
        images: each image as the row names it, and what it led to; empty when the fields are wrong.
        image_field: the field that names them.
        readable: False when the row is no row at all.
    """

    number: int
    example: Example | None
    problems: tuple[RowProblem, ...] = ()
    images: tuple[tuple[str, ProbeOutcome], ...] = ()
    image_field: str = "image"
    is_row: bool = True

    @property
    def usable_images(self) -> list[ImageProbe]:
        """The images that can be used."""
        return [outcome for _given, outcome in self.images if isinstance(outcome, ImageProbe)]


class Check(Protocol):
    """Looks at rows one after another."""

    def check_row(self, judged: LoadedRow) -> Iterator[Finding]:
        """What is found in a row."""
        ...

    def finish(self) -> Iterator[Finding]:
        """What can be said when all rows have been seen."""
        ...


def digest(*parts: str) -> int:
    """64 bits of texts; among a million rows two different ones share it with a chance of 3 in 100 million."""
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        state.update(part.encode("utf-8", "surrogatepass"))
        state.update(b"\0")
    return int.from_bytes(state.digest(), "little")


def conversation_digest(example: Example) -> int:
    """A digest of everything said and shown."""
    parts: list[str] = []
    for message in example.messages:
        parts.append(f"\1{message.role}")
        parts += [f"\2{part.image.path}" if isinstance(part, ImagePart) else part.text for part in message.parts]
    return digest(*parts)

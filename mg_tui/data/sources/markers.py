"""Placeholders of images in texts: placed where they match the images of the row, refused where they do not.

`<image>` refers to the images of the row in order; a newline after it belongs to it, as in LLaVA. `<image_1>` and its
spellings refer to them by number. Markers of other tools (`<video>`, `<img>path</img>`) are refused in questions,
since the model would read them as text; in answers, and where the user ignores them, they are left as text and listed.
"""

import re
import shlex
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from mg_tui.data.field_map import DraftTurn
from mg_tui.data.row_reader import RowReader

IMAGE_MARK: Final = "<image>"

_IMAGE_MARK_PATTERN: Final = re.compile(r"<image>\n?")
_NUMBERED: Final = re.compile(r"<\|?image[ _]?([0-9]{1,3})\|?>")
_FOREIGN: Final = re.compile(
    r"<img>[^<>]*</img>|<\|?image[ _]?[0-9]{1,3}\|?>|<ImageHere>|<Image>|<IMAGE>|\[IMG\]|<video>|<audio>|<speech>"
    r"|<\|(?:image|video|audio|image_pad|video_pad|vision_start|vision_end)\|>|<start_of_image>|<image_soft_token>"
)


def insert_images(
    reader: RowReader, name: str, turns: list[DraftTurn], images: list[int], literal: Collection[int] = ()
) -> list[DraftTurn] | None:
    """The turns with the row's images at their placeholders, or None with a problem of field `name` added.

    Args:
        literal: indexes of turns whose texts have no placeholders.
    """
    texts = ["" if index in literal else _marked_text(turn) for index, turn in enumerate(turns)]
    placeholders = sum(len(_IMAGE_MARK_PATTERN.findall(text)) for text in texts)
    foreign = list(_foreign_markers(reader, turns, literal))
    if foreign and placeholders == 0 and _match_by_number(foreign, images):
        return [
            turn
            if turn.role == "assistant" or index in literal
            else replace(turn, parts=_place_by_number(turn, images))
            for index, turn in enumerate(turns)
        ]
    if foreign:
        marker = _marker_name(foreign[0])
        reader.add_problem(
            name,
            f"has the marker {marker}, which is not a placeholder here",
            f"use {IMAGE_MARK} for an image, or leave it as text with --ignore-column {shlex.quote(marker)}",
        )
        return None
    if placeholders == 0 and images:
        first = next((index for index, turn in enumerate(turns) if turn.role == "user"), None)
        if first is not None:
            turns[first] = replace(turns[first], parts=(*images, *turns[first].parts))
        return turns
    if placeholders != len(images):
        marks = f"{placeholders} {IMAGE_MARK} placeholder{'s' if placeholders != 1 else ''}"
        available = f"{len(images)} image{'s' if len(images) != 1 else ''}"
        reader.add_problem(name, f"has {marks} but the row has {available}")
        return None
    remaining = iter(images)
    return [
        replace(turn, parts=tuple(_split_at_marks(text, remaining))) if text else turn
        for turn, text in zip(turns, texts, strict=True)
    ]


def _foreign_markers(reader: RowReader, turns: list[DraftTurn], literal: Collection[int]) -> Iterator[str]:
    """Markers of other tools in questions; those that are left as text are added to `reader.text_markers`."""
    for index, turn in enumerate(turns):
        is_literal = index in literal
        for part in turn.parts:
            if not isinstance(part, str) or ("<" not in part and "[IMG]" not in part):
                continue
            if is_literal and IMAGE_MARK in part:
                reader.text_markers.add(IMAGE_MARK)
            for match in _FOREIGN.finditer(part):
                if is_literal or turn.role == "assistant" or _marker_name(match[0]) in reader.ignored:
                    reader.text_markers.add(_marker_name(match[0]))
                else:
                    yield match[0]


def _marker_name(marker: str) -> str:
    return "<img>" if marker.startswith("<img>") else marker


def _match_by_number(markers: list[str], images: list[int]) -> bool:
    """Whether the markers are numbered and name every image exactly once."""
    numbers = [int(match[1]) for marker in markers if (match := _NUMBERED.fullmatch(marker))]
    return len(numbers) == len(markers) and sorted(numbers) == list(range(1, len(images) + 1))


def _place_by_number(turn: DraftTurn, images: list[int]) -> tuple[str | int, ...]:
    """The parts of a turn, its numbered markers replaced by the images; a newline after one belongs to it."""
    parts: list[str | int] = []
    for part in turn.parts:
        if isinstance(part, int):
            parts.append(part)
            continue
        at = 0
        for match in _NUMBERED.finditer(part):
            parts += [part[at : match.start()], images[int(match[1]) - 1]]
            at = match.end() + part.startswith("\n", match.end())
        parts.append(part[at:])
    return tuple(part for part in parts if part != "")


def _marked_text(turn: DraftTurn) -> str:
    """The text of a turn that is a single text with placeholders; empty for other turns."""
    if len(turn.parts) != 1 or not isinstance(turn.parts[0], str) or IMAGE_MARK not in turn.parts[0]:
        return ""
    return turn.parts[0]


def _split_at_marks(text: str, images: Iterator[int]) -> Iterator[str | int]:
    for index, piece in enumerate(_IMAGE_MARK_PATTERN.split(text)):
        if index:
            yield next(images)
        if piece:
            yield piece

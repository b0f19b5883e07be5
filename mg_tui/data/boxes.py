"""Boxes beside a row's text, written into it at their placeholders: ms-swift's column `objects`.

    {"messages": [..., {"role": "assistant", "content": "[{\"bbox_2d\": <bbox>, \"label\": \"<ref-object>\"}]"}],
     "images": ["a.jpg"], "objects": {"ref": ["cat"], "bbox": [[10, 20, 110, 220]]}}

`<ref-object>` stands for the next name and `<bbox>` for the next box, through all turns. A box is two or four numbers
in pixels of its image, or shares of its sides with `"bbox_type": "norm1"`; `image_id` has the image of each box, by
default the first. A box is written as `[x1, y1, x2, y2]` in whole numbers, as ms-swift does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mg_tui.core.resizing import resize_to_multiples
from mg_tui.core.spec import BoxUnits, TrainingSpec
from mg_tui.data.jsonl import describe_type

BOX_COLUMN: Final = "objects"
BOX_MARK: Final = "<bbox>"
NAME_MARK: Final = "<ref-object>"
RESIZE_FACTOR: Final = 28  # pixels: patches of 14, two along a side for a token


@dataclass(frozen=True, slots=True)
class BoxFormat:
    """How boxes are written: their units, and for those of resized images the limits of their areas in pixels."""

    units: BoxUnits
    min_pixels: int = 0
    max_pixels: int = 0

    @classmethod
    def from_spec(cls, spec: TrainingSpec) -> "BoxFormat | None":
        """The format that the options of a run name, if any."""
        if spec.box_format is None:
            return None
        limits = (spec.min_pixels, spec.max_pixels) if spec.box_format == "resized" else (0, 0)
        return cls(spec.box_format, *limits)

    def frame(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of an image of that width and height in pixels, in the units of its boxes."""
        if self.units == "thousandths":
            return (1000, 1000)
        if self.units == "resized":
            limits = {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels}
            return resize_to_multiples(*size, factor=RESIZE_FACTOR, **limits)
        return size

    def write(self, box: "DraftBox", size: tuple[int, int]) -> str:
        """A box as text; `size` is the width and height of its image in pixels."""
        target = self.frame(size)
        sides = (1, 1) if box.shares else size
        scaled = [round(value / sides[at % 2] * target[at % 2]) for at, value in enumerate(box.numbers)]
        return str(scaled)


@dataclass(frozen=True, slots=True)
class DraftBox:
    """A box: the index of its image in the row, and x, y or x1, y1, x2, y2, in pixels or as shares of its sides."""

    image: int
    numbers: tuple[float, ...]
    shares: bool = False


@dataclass(frozen=True, slots=True)
class RowObjects:
    """The names and boxes of a row, in the order of their placeholders."""

    names: tuple[str, ...]
    boxes: tuple[DraftBox, ...]


class BoxProblem(ValueError):
    """Boxes that cannot be read; the text completes a sentence whose subject is the column."""


def read_objects(value: Any, images: int) -> RowObjects:
    """The names and boxes of a row's column `objects`; `images` is how many images the row has.

    Raises:
        BoxProblem: they are not as ms-swift writes them.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("bbox"), list):
        raise BoxProblem(f"is {describe_type(value)} without a list in bbox, as ms-swift has it")
    names, kind = value.get("ref") or [], value.get("bbox_type") or "real"
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BoxProblem("has a ref that is no list of texts")
    if kind not in ("real", "norm1"):
        raise BoxProblem(f"has the bbox_type {kind!r}; real and norm1 are supported")
    ids = value.get("image_id") or [0] * len(value["bbox"])
    if not isinstance(ids, list) or len(ids) != len(value["bbox"]):
        raise BoxProblem("has an image_id that is no list with a number for each box")
    boxes = []
    for number, (numbers, image) in enumerate(zip(value["bbox"], ids, strict=True), 1):
        if not isinstance(numbers, list) or len(numbers) not in (2, 4) or not all(map(_is_number, numbers)):
            raise BoxProblem(f"has a box {number} that is no list of two or four numbers")
        if not isinstance(image, int) or not 0 <= image < images:
            raise BoxProblem(f"has a box {number} of image {image!r}, but the row has {images} images")
        boxes.append(DraftBox(image, tuple(map(float, numbers)), kind == "norm1"))
    return RowObjects(tuple(names), tuple(boxes))


def require_placeholders(objects: RowObjects, texts: Sequence[str]) -> None:
    """Require that the texts have a placeholder for each name and box.

    Raises:
        BoxProblem: there are other numbers of them.
    """
    for mark, items, noun in ((BOX_MARK, objects.boxes, "box"), (NAME_MARK, objects.names, "name")):
        count = sum(text.count(mark) for text in texts)
        if count != len(items):
            plural = {"box": "boxes", "name": "names"}[noun] if len(items) != 1 else noun
            raise BoxProblem(f"has {len(items)} {plural}, and the text has {count} of {mark}")


def write_objects(
    texts: Sequence[str], objects: RowObjects, sizes: Sequence[tuple[int, int]] | None, format: BoxFormat
) -> list[str]:
    """The texts with names and boxes at their placeholders.

    `sizes` are the width and height of each image of the row; without them the placeholders of boxes stay.
    """
    named = _fill(texts, NAME_MARK, objects.names)
    if sizes is None:
        return named
    return _fill(named, BOX_MARK, [format.write(box, sizes[box.image]) for box in objects.boxes])


def _fill(texts: Sequence[str], mark: str, values: Sequence[str]) -> list[str]:
    remaining = iter(values)
    filled = []
    for text in texts:
        first, *others = text.split(mark)
        filled.append(first + "".join(f"{next(remaining)}{other}" for other in others))
    return filled


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9

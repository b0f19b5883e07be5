"""Metrics of boxes: intersection over union in pixels of the original image, whatever units a model writes in."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.metrics.contract import BoxFrame, BoxUnits, Metric, MetricOutput, Prediction
from mg_tui.metrics.references import INVALID, parse_json, require_references, wrong_type

Box = tuple[float, float, float, float]

_NUMBER: Final = r"-?\d{1,9}(?:\.\d{1,9})?"
# (x1,y1),(x2,y2), with or without the special tokens that some models write; [x1, y1, x2, y2] of the others.
_CORNERS: Final = re.compile(rf"\(\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\)\s*,?\s*\(\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\)")
_FOUR: Final = re.compile(rf"[\[(]\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*[\])]")
BOX_KEYS: Final = ("bbox_2d", "bbox", "box_2d", "box")
# Boxes of an answer that are looked at: a model that repeats itself writes them without end.
MAX_BOXES: Final = 300


def boxes_in(value: Any) -> list[Box]:
    """Every box of a text or JSON value, as (left, top, right, bottom) in its own units, in the order written.

    JSON objects name theirs `bbox_2d`, `bbox`, `box_2d` or `box`; arrays of four numbers are boxes; in other text
    `(x1,y1),(x2,y2)` and `[x1, y1, x2, y2]` are.
    """
    if isinstance(value, str):
        parsed = parse_json(value, fenced=True)
        if parsed is INVALID or isinstance(parsed, str | int | float):
            matches = _CORNERS.findall(value) or _FOUR.findall(value)
            return [_ordered([float(number) for number in box]) for box in matches]
        value = parsed
    boxes: list[Box] = []
    _collect(value, boxes)
    return boxes


def _collect(value: Any, boxes: list[Box]) -> None:
    if isinstance(value, list):
        if len(value) == 4 and all(_is_coordinate(number) for number in value):
            boxes.append(_ordered([float(number) for number in value]))
        else:
            for inner in value:
                _collect(inner, boxes)
    elif isinstance(value, dict):
        named = [value[key] for key in BOX_KEYS if key in value]
        for inner in named or [node for node in value.values() if isinstance(node, dict | list)]:
            _collect(inner, boxes)


def _is_coordinate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _ordered(numbers: Sequence[float]) -> Box:
    left, top, right, bottom = numbers
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


def to_pixels(box: Box, units: BoxUnits, frame: BoxFrame, row: int) -> Box:
    """A box in pixels of the original image.

    Raises:
        DataError: the size that the units need is not known.
    """
    if units == "pixels":
        return box
    if frame.image is None or (units == "resized" and frame.seen is None):
        raise DataError(
            f"the boxes of row {row} cannot be put into pixels of the original image",
            where=f"row {row}",
            why=f"they are in units of {units!r}, and the size of its image is not known",
        )
    width, height = frame.image
    across, down = {"resized": frame.seen or frame.image, "thousandths": (1000, 1000), "unit": (1, 1)}[units]
    x, y = width / across, height / down
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def iou(box: Box, other: Box) -> float:
    """Intersection over union; 1 for equal boxes without area."""
    if box == other:
        return 1.0
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    union = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1]) - common
    return min(common / union, 1.0) if union > 0 and math.isfinite(union) else 0.0


def matched(predicted: Sequence[Box], expected: Sequence[Box]) -> list[float]:
    """The overlaps of boxes matched one to one, those that overlap most first."""
    pairs = sorted(
        ((iou(box, other), i, j) for i, box in enumerate(predicted) for j, other in enumerate(expected)),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    used: set[int] = set()
    taken: set[int] = set()
    overlaps = []
    for overlap, i, j in pairs:
        if overlap > 0 and i not in used and j not in taken:
            used.add(i)
            taken.add(j)
            overlaps.append(overlap)
    return overlaps


def _sides(prediction: Prediction) -> Iterator[tuple[list[Box], list[Box]]]:
    """The answer's boxes with each reference's, in the same units."""
    frame = prediction.boxes or BoxFrame()
    same = frame.answer == frame.reference
    predicted = boxes_in(prediction.answer)[:MAX_BOXES]
    if not same:
        predicted = [to_pixels(box, frame.answer, frame, prediction.row) for box in predicted]
    for reference in require_references(prediction):
        expected = boxes_in(reference)
        if not expected:
            raise wrong_type(prediction, reference, "a box", "write [left, top, right, bottom], or {'bbox_2d': [...]}")
        if not same:
            expected = [to_pixels(box, frame.reference, frame, prediction.row) for box in expected]
        # Overlap does not change when both axes are stretched alike for both boxes.
        yield predicted, expected


def _box_iou(predictions: Sequence[Prediction]) -> MetricOutput:
    return MetricOutput(
        [
            max(
                sum(matched(predicted, expected)) / max(len(predicted), len(expected))
                for predicted, expected in _sides(prediction)
            )
            for prediction in predictions
        ],
        details=_units(predictions),
    )


def _box_iou50(predictions: Sequence[Prediction]) -> MetricOutput:
    def f1(predicted: list[Box], expected: list[Box]) -> float:
        return 2 * sum(overlap >= 0.5 for overlap in matched(predicted, expected)) / (len(predicted) + len(expected))

    values = [max(f1(predicted, expected) for predicted, expected in _sides(prediction)) for prediction in predictions]
    return MetricOutput(values, details=_units(predictions))


def _units(predictions: Sequence[Prediction]) -> dict[str, Any]:
    frames = {(prediction.boxes or BoxFrame()).answer for prediction in predictions}
    rights = {(prediction.boxes or BoxFrame()).reference for prediction in predictions}
    return {"answer_units": sorted(frames), "reference_units": sorted(rights)}


def metrics() -> Iterator[Metric]:
    """The metrics of this module."""
    yield Metric(
        name="box_iou",
        version="1",
        title="Boxes, mean IoU",
        summary="Mean intersection over union of matched boxes; missing and invented boxes count as 0.",
        source="by definition, in pixels of the original image",
        compute=_box_iou,
        reference="boxes",
        correct_at=0.5,
    )
    yield Metric(
        name="box_iou50",
        version="1",
        title="Boxes, F1 at IoU 0.5",
        summary="F1 of boxes that overlap by at least 0.5; with one box the share of rows where it does.",
        source="PASCAL VOC's threshold, in pixels of the original image",
        compute=_box_iou50,
        reference="boxes",
    )

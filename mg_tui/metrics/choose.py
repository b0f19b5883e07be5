"""Which metrics suit a dataset, and why: chosen from its references alone."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.core.text import one_line
from mg_tui.metrics.boxes import BOX_KEYS, boxes_in
from mg_tui.metrics.captions import MIN_IMAGES
from mg_tui.metrics.contract import Metric, Prediction
from mg_tui.metrics.exact import MIN_VQA_REFERENCES
from mg_tui.metrics.normalize import folded
from mg_tui.metrics.numeric import is_count, is_number
from mg_tui.metrics.references import INVALID, parse_json, require_references
from mg_tui.metrics.registry import load_metrics
from mg_tui.metrics.scoring import count_images, evaluate

_SHORT_WORDS: Final = 6
_ROWS_A_LABEL: Final = 5
_FEW_LABELS: Final = 50
_LARGEST_COUNT: Final = 1000


@dataclass(frozen=True, slots=True)
class MetricChoice:
    """Metrics by name, the first of them the one rows are sorted by; and why, in a sentence."""

    names: tuple[str, ...]
    reason: str


def settle_metrics(names: Iterable[str], predictions: Sequence[Prediction]) -> tuple[list[Metric], str]:
    """The metrics of these names, or without names those that suit the references; and why.

    That they accept the references is known afterwards, before anything is answered.

    Raises:
        UsageError: there is no such metric.
        DataError: as `choose` and `evaluate`.
    """
    names = tuple(names)
    chosen = MetricChoice(names, "As asked.") if names else choose(predictions)
    metrics = load_metrics().named(chosen.names)
    evaluate(predictions, metrics)
    return metrics, chosen.reason


def choose(predictions: Sequence[Prediction]) -> MetricChoice:
    """The metrics that suit the references. Answers are not looked at: a choice must not depend on the model.

    Raises:
        DataError: there is no row, or one without a reference.
    """
    if not predictions:
        raise DataError("there is nothing to score: the evaluation has no row")
    references = [require_references(prediction) for prediction in predictions]
    every = [value for row in references for value in row]
    if all(map(_has_boxes, every)):
        return MetricChoice(("box_iou50", "box_iou"), "Every reference is one or several boxes.")
    if all(map(_is_structure, every)):
        return MetricChoice(("json_fields", "anls_star", "json_valid"), "Every reference is a JSON object or array.")
    if any(isinstance(value, dict | list | bool) or value is None for value in every):
        row = next(p.row for p in predictions if any(not isinstance(r, str | int | float) for r in p.references))
        raise DataError(
            f"the references are of mixed types: row {row} has one that is no text",
            where=f"row {row}",
            hint="name the metrics with --metrics",
        )
    fewest = min(map(len, references))
    if fewest >= MIN_VQA_REFERENCES:
        return MetricChoice(
            ("vqa_accuracy", "exact_match_vqa", "anls"),
            f"Every row has at least {fewest} references, as VQA accuracy needs.",
        )
    return _texts(predictions, [str(value) for value in every], every)


def _texts(predictions: Sequence[Prediction], texts: list[str], every: list[Any]) -> MetricChoice:
    labels = Counter(folded(text) for text in texts)
    if all(map(is_count, every)) and max(int(float(text)) for text in texts) <= _LARGEST_COUNT:
        return MetricChoice(
            ("count_exact", "count_within_1", "count_error"), "Every reference is a small whole number: counting."
        )
    if _mostly(is_number, every):
        return MetricChoice(
            ("relaxed_accuracy_plus", "relaxed_accuracy", "exact_match_folded"),
            "At least nine in ten references are numbers.",
        )
    words = median(len(text.split()) for text in texts)
    one_each = all(len(prediction.references) == 1 for prediction in predictions)
    if one_each and 2 <= len(labels) <= _FEW_LABELS and len(texts) >= _ROWS_A_LABEL * len(labels):
        shown = ", ".join(one_line(label, limit=20) for label, _count in labels.most_common(3))
        more = ", ..." if len(labels) > 3 else ""
        reason = f"The {len(texts)} references are {len(labels)} different texts ({shown}{more}): classification."
        return MetricChoice(("accuracy", "macro_f1", "exact_match_folded"), reason)
    if words <= _SHORT_WORDS:
        return MetricChoice(
            ("exact_match_folded", "exact_match_vqa", "exact_match", "anls", "token_f1"),
            f"References are short: half of them have at most {words:g} words.",
        )
    reason = f"References are long: half of them have more than {words - 1:g} words"
    if count_images(predictions) >= MIN_IMAGES:
        return MetricChoice(("rouge_l", "cider_d", "chrf", "bleu", "token_f1"), f"{reason}, over at least 50 images.")
    return MetricChoice(("rouge_l", "chrf", "bleu", "token_f1"), f"{reason}; images are too few for CIDEr-D.")


def _mostly(test: Callable[[Any], bool], values: Sequence[Any]) -> bool:
    return sum(map(test, values)) >= 0.9 * len(values)


def _is_structure(value: Any) -> bool:
    if isinstance(value, str):
        parsed = parse_json(value)
        return parsed is not INVALID and isinstance(parsed, dict | list)
    return isinstance(value, dict | list)


def _has_boxes(value: Any) -> bool:
    """Whether a reference is boxes and little else: four numbers in a sentence are not its whole meaning."""
    if isinstance(value, str) and not _is_structure(value):
        return bool(boxes_in(value)) and sum(character.isalpha() for character in value) <= 60
    structure = parse_json(value) if isinstance(value, str) else value
    if isinstance(structure, list) and not any(isinstance(value, int | float) for value in structure):
        return bool(structure) and all(map(_is_box, structure))
    return _is_box(structure)


def _is_box(value: Any) -> bool:
    named = isinstance(value, list) or (isinstance(value, dict) and any(key in value for key in BOX_KEYS))
    return named and len(boxes_in(value)) == 1

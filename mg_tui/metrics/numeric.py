"""Metrics of numbers: relaxed accuracy of charts, faithful and practical, and counting."""

import math
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from mg_tui.core.errors import DataError
from mg_tui.metrics.contract import Metric, MetricOutput, Prediction
from mg_tui.metrics.normalize import folded
from mg_tui.metrics.references import require_references, texts, wrong_type
from mg_tui.metrics.rows import best_of, per_row

RELATIVE_ERROR: Final = 0.05


def relaxed(answer: str, reference: str) -> float:
    """Relaxed accuracy of ChartQA (Masry et al. 2022) as pix2struct computes it, its quirks included.

    Within 5 % of a reference that is a number and not 0, else equality but for case. A percent sign divides by 100, on
    each side alone: `5%` is 0.05 and not 5. `1,000` and `$10` are no numbers. Unlike there, `nan` and `inf` are words.
    """
    predicted, expected = _plain_number(answer), _plain_number(reference)
    if predicted is not None and expected:
        return float(abs(predicted - expected) / abs(expected) <= RELATIVE_ERROR)
    return float(answer.lower() == reference.lower())


def _plain_number(text: str) -> float | None:
    percent = text.endswith("%")
    try:
        value = float(text.rstrip("%") if percent else text)
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return value / 100 if percent else value


_QUANTITY: Final = re.compile(
    r"(?P<sign>[-+\u2212]?)\s*(?:[$€£¥₹]|usd|eur|gbp)?\s*"
    r"(?P<sign2>[-+\u2212]?)(?P<number>\d[\d,]*(?:\.\d+)?|\.\d+)(?P<power>e[-+]?\d{1,3})?\s*"
    r"(?P<unit>%|[$€£¥₹]|[^\W\d_][\w/°²³.]*)?\.?",
    re.IGNORECASE,
)
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_DECIMAL_COMMA: Final = re.compile(r"\d+,\d{1,2}")


def relaxed_plus(answer: str, reference: str) -> float:
    """Relaxed accuracy as a person would judge: currency signs, thousands, units and percents are read.

    A number may stand with a currency sign, commas between thousands, a percent sign and a unit. Where only one side
    has a percent sign, `5%` is taken for 5 and for 0.05. Two different units are wrong. Against 0 only 0 is correct.
    """
    predicted, expected = quantity(answer), quantity(reference)
    if predicted is None or expected is None:
        return float(folded(answer) == folded(reference))
    (value, unit), (target, expected_unit) = predicted, expected
    if unit and expected_unit and unit != expected_unit:
        return 0.0
    readings = [value]
    if unit != expected_unit and "%" in (unit, expected_unit):
        readings.append(value / 100 if unit == "%" else value * 100)
    return float(any(_near(reading, target) for reading in readings))


def _near(value: float, expected: float) -> bool:
    # The margin is a bound of decimal numbers: 10.5 is within 5 % of 10 whatever binary makes of it.
    return value == expected if expected == 0 else abs(value - expected) <= RELATIVE_ERROR * abs(expected) * (1 + 1e-9)


def quantity(text: str) -> tuple[float, str] | None:
    """A text that is one number, as its value and its unit in lower case; None when it is anything else."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        return None
    number = match["number"]
    if "," in number:
        if _THOUSANDS.fullmatch(number):
            number = number.replace(",", "")
        elif _DECIMAL_COMMA.fullmatch(number):
            number = number.replace(",", ".")
        else:
            return None
    try:
        value = float(number + (match["power"] or ""))
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    negative = (match["sign"] + match["sign2"]).strip() in ("-", "\u2212")
    unit = (match["unit"] or "").lower().rstrip(".")
    return (-value if negative else value), ("" if unit in "$€£¥₹" else unit)


_COUNT_WORDS: Final = dict(
    zip(
        "zero no none one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty".split(),
        [0, 0, 0, *range(1, 21)],
        strict=True,
    )
)
_DIGITS: Final = re.compile(r"(?<![\d.,])\d{1,15}(?![\d]|[.,]\d)")
_COMMA_OF_THOUSANDS: Final = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_WORD: Final = re.compile(r"[a-z]+")


def count_in(text: str) -> int | None:
    """The count a text says: the one whole number in it, else the one number word; None when there is none or several.

    "There are 3 dogs." is 3, "two" is 2, "3 or 4" is nothing. "no" and "none" are 0 where they stand alone.
    """
    text = _COMMA_OF_THOUSANDS.sub("", text)
    digits = {int(digit_run) for digit_run in _DIGITS.findall(text)}
    if digits or any(character.isdigit() for character in text):
        return digits.pop() if len(digits) == 1 else None
    words = _WORD.findall(text.lower())
    if words in (["no"], ["none"]):
        return 0
    numbers = {_COUNT_WORDS[word] for word in words if word in _COUNT_WORDS and word not in ("no", "none")}
    return numbers.pop() if len(numbers) == 1 else None


def counts(prediction: Prediction) -> tuple[int, ...]:
    """The references as counts.

    Raises:
        DataError: one is no whole number of 0 or more.
    """
    return tuple(_count(prediction, reference) for reference in require_references(prediction))


def _count(prediction: Prediction, reference: object) -> int:
    if isinstance(reference, int | float) and not isinstance(reference, bool) and reference == reference // 1 >= 0:
        return int(reference)
    count = count_in(reference) if isinstance(reference, str) else None
    if count is None:
        raise wrong_type(prediction, reference, "a count", "relaxed_accuracy takes any number, exact_match any text")
    return count


def _error(answer: str, references: tuple[int, ...]) -> float:
    """The distance to the nearest reference; without a number in the answer that of answering 0, and at least 1."""
    count = count_in(answer)
    if count is None:
        return float(max(1, min(references)))
    return float(min(abs(count - reference) for reference in references))


def _count_error(predictions: Sequence[Prediction]) -> MetricOutput:
    values = [_error(prediction.answer, counts(prediction)) for prediction in predictions]
    without = sum(count_in(prediction.answer) is None for prediction in predictions)
    details = {"median": statistics.median(values) if values else None, "answers_without_a_number": without}
    return MetricOutput(values, details=details)


def _count_within(margin: int) -> Callable[[str, tuple[int, ...]], float]:
    def score(answer: str, references: tuple[int, ...]) -> float:
        count = count_in(answer)
        return float(count is not None and any(abs(count - reference) <= margin for reference in references))

    return score


def is_number(reference: object) -> bool:
    """Whether a reference is a number with at most a unit, as `relaxed_plus` reads it."""
    if isinstance(reference, str):
        return quantity(reference) is not None
    return isinstance(reference, int | float) and not isinstance(reference, bool)


def is_count(reference: object) -> bool:
    """Whether a reference is a bare whole number of 0 or more."""
    try:
        return (not isinstance(reference, str) or reference.strip().isdecimal()) and bool(
            counts(Prediction(0, "", (reference,)))
        )
    except DataError:
        return False


def metrics() -> Iterator[Metric]:
    """The metrics of this module."""
    yield Metric(
        name="relaxed_accuracy",
        version="1",
        title="Relaxed accuracy",
        summary="Within 5 % of a number, else equal but for case; `1,000` and `$10` are not numbers here.",
        source="ChartQA; pix2struct",
        compute=per_row(best_of(relaxed), texts),
    )
    yield Metric(
        name="relaxed_accuracy_plus",
        version="1",
        title="Relaxed accuracy, practical",
        summary="The same, reading currency signs, thousands, units and both meanings of a percent sign.",
        source="Model Garden",
        compute=per_row(best_of(relaxed_plus), texts),
    )
    yield Metric(
        name="count_exact",
        version="1",
        title="Count, exact",
        summary="The one number in the answer is the reference.",
        source="by definition",
        compute=per_row(_count_within(0), counts),
        reference="count",
    )
    yield Metric(
        name="count_within_1",
        version="1",
        title="Count, within one",
        summary="The one number in the answer is at most one off.",
        source="by definition",
        compute=per_row(_count_within(1), counts),
        reference="count",
    )
    yield Metric(
        name="count_error",
        version="1",
        title="Count, mean absolute error",
        summary="Mean distance to the reference; an answer without a number counts as 0, and as at least one off.",
        source="mean absolute error",
        compute=_count_error,
        reference="count",
        bounds=(0.0, math.inf),
        higher_is_better=False,
        correct_at=0.0,
    )

"""The datasets of a run as its options name them: each a text PATH[:WEIGHT], or a JSON object with its own options.

A weight of 2 takes every row twice, 0.5 a random half. The keys of an object are those of a `[datasets.NAME]` table of
garden.toml and `weight`; its options apply to its dataset alone.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mg_tui.core.errors import UsageError

# The keys of a [datasets.NAME] table, each with the option it stands for.
DATASET_KEYS: Final[Mapping[str, str]] = {
    "path": "dataset",
    "format": "dataset_format",
    "layout": "dataset_layout",
    "encoding": "dataset_encoding",
    "split": "dataset_split",
    "config": "dataset_config",
    **{
        name: name
        for name in (
            "json_field",
            "text_field",
            "image_field",
            "response_field",
            "messages_field",
            "weight_field",
            "ignore_column",
            "box_format",
            "caption_prompt",
            "learned_answers",
            "image_root",
            "system_prompt",
        )
    },
}
MAX_WEIGHT: Final = 1000.0


@dataclass(frozen=True, slots=True)
class DatasetPart:
    """One dataset of a run.

    Attributes:
        name: a path, a Hub name, or the name of a `[datasets.NAME]` table.
        weight: how often its rows are taken; see the module.
        options: its own values of the spec's options, by key of `DATASET_KEYS` without "path".
    """

    name: str
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """E.g. "photos.jsonl:2"."""
        return self.name if self.weight == 1 else f"{self.name}:{self.weight:g}"

    @property
    def changes(self) -> dict[str, Any]:
        """The options as fields of the spec."""
        return {DATASET_KEYS[key]: value for key, value in self.options.items()}

    def format(self) -> str:
        """The text that `parse_part` reads as this part."""
        if not self.options:
            return str(self)
        weight = {"weight": self.weight} if self.weight != 1 else {}
        return json.dumps({"path": self.name, **self.options, **weight}, ensure_ascii=False)


def parse_part(text: str, exists: Callable[[str], bool] = lambda _name: False) -> DatasetPart:
    """The dataset that a text names.

    Args:
        exists: whether there is a file or folder of a name: such a name has no weight, whatever it ends with.

    Raises:
        UsageError: the weight is not above 0 and at most 1000, or the object is malformed.
    """
    if text.lstrip().startswith("{"):
        return _parse_object(text)
    if exists(text):
        return DatasetPart(text)
    return DatasetPart(*parse_weighted_path(text))


def parse_weighted_path(text: str) -> tuple[str, float]:
    """The dataset and weight of "FILE:2"; a name without a number has weight 1.

    Raises:
        UsageError: the weight is not above 0, or is above 1000.
    """
    name, colon, number = text.rpartition(":")
    try:
        weight = float(number) if colon and name else math.nan
    except ValueError:
        weight = math.nan
    if math.isnan(weight):
        return text, 1.0
    _require_weight(weight, number, text)
    return name, weight


def _parse_object(text: str) -> DatasetPart:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(
            "a dataset is not valid JSON", where=text, hint='write {"path": "b.csv", "layout": "vqa", "weight": 2}'
        ) from None
    path = values.get("path") if isinstance(values, dict) else None
    if not isinstance(path, str) or not path:
        raise UsageError("a dataset has no path", where=text, hint='write {"path": "b.csv", "weight": 2}')
    weight = values.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise UsageError("a weight is not a number", where=text)
    _require_weight(float(weight), f"{weight:g}", text)
    options = {key: value for key, value in values.items() if key not in ("path", "weight")}
    if unknown := options.keys() - DATASET_KEYS.keys():
        keys = ", ".join(("weight", *DATASET_KEYS))
        raise UsageError(f"a dataset has the unknown key {min(unknown)!r}", where=text, hint=f"keys are {keys}")
    return DatasetPart(path, float(weight), options)


def _require_weight(weight: float, number: str, where: str) -> None:
    if not 0 < weight <= MAX_WEIGHT:
        raise UsageError(f"invalid weight {number}", where=where, hint="2 repeats every row twice, 0.5 takes half")

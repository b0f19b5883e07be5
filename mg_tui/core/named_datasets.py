"""Named datasets: a `[datasets.NAME]` table of garden.toml sets the options of one dataset."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mg_tui.core.dataset_parts import DATASET_KEYS, DatasetPart, parse_part
from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec

__all__ = ["DATASET_KEYS", "require_path", "resolve_named_datasets"]


def resolve_named_datasets(
    spec: TrainingSpec, datasets: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Any]
) -> TrainingSpec:
    """`spec` with the names of datasets resolved.

    A table's value applies where an option was not set or has the user's default of `[train]`; an option set for this
    run wins, also with its default value. With several datasets, the values of a table apply to its dataset alone.

    Args:
        datasets: the tables by name.
        defaults: the `[train]` table.

    Raises:
        UsageError: a table has no path.
        SpecError: a value of a table is invalid.
    """
    changes: dict[str, Any] = {}
    if spec.additional_dataset:
        texts = [_resolve_part(text, spec, datasets, defaults) for text in (spec.dataset, *spec.additional_dataset)]
        if texts != [spec.dataset, *spec.additional_dataset]:
            changes |= {"dataset": texts[0], "additional_dataset": texts[1:]}
    elif table := datasets.get(spec.dataset):
        changes |= {DATASET_KEYS[key]: value for key, value in _applicable_values(table, spec, defaults).items()}
        changes["dataset"] = require_path(spec.dataset, table)
    elif (text := _resolve_part(spec.dataset, spec, datasets, defaults)) != spec.dataset:
        changes["dataset"] = text
    if spec.eval_dataset is not None and (table := datasets.get(spec.eval_dataset)):
        changes["eval_dataset"] = require_path(spec.eval_dataset, table)
        if spec.eval_dataset_split is None:
            changes["eval_dataset_split"] = table.get("split")
    if not changes:
        return spec
    values = {**spec.model_dump(include=spec.model_fields_set), **changes}
    return TrainingSpec.parse(values, where=dict.fromkeys(changes, f"[datasets] {spec.dataset}"))


def _resolve_part(
    text: str, spec: TrainingSpec, datasets: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Any]
) -> str:
    """One dataset with the values of its table, if it names one; those that it sets itself win."""
    part = DatasetPart(text) if text in datasets else _parse_leniently(text)
    table = datasets.get(part.name) if part is not None else None
    if part is None or table is None:
        return text
    path = str(require_path(part.name, table))
    values = json.loads(json.dumps(_applicable_values(table, spec, defaults), default=str))
    return replace(part, name=path, options={**values, **part.options}).format()


def _parse_leniently(text: str) -> DatasetPart | None:
    """The part, or None for a text that is not one: opening it reports what is wrong."""
    try:
        return parse_part(text)
    except UsageError:
        return None


def _applicable_values(table: Mapping[str, Any], spec: TrainingSpec, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a table, but the path, that no option of the run overrides."""
    return {
        key: table[key]
        for key, name in DATASET_KEYS.items()
        if key != "path" and key in table and _is_unset(name, spec, defaults)
    }


def _is_unset(name: str, spec: TrainingSpec, defaults: Mapping[str, Any]) -> bool:
    return name not in spec.model_fields_set or (name in defaults and getattr(spec, name) == defaults[name])


def require_path(name: str, table: Mapping[str, Any]) -> Any:
    """The path in the table of this name.

    Raises:
        UsageError: it has none.
    """
    if "path" not in table:
        raise UsageError(f"[datasets.{name}] has no path", hint="set it, e.g. path = 'data/mine.jsonl'")
    return table["path"]

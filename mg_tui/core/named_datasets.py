"""Named datasets: a `[datasets.NAME]` table of garden.toml sets the options of one dataset."""

from collections.abc import Mapping
from typing import Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec

# The keys of a [datasets.NAME] table, each with the option it stands for.
DATASET_KEYS: Final[Mapping[str, str]] = {
    "path": "dataset",
    "format": "dataset_format",
    "layout": "dataset_layout",
    "split": "dataset_split",
    "config": "dataset_config",
    **{
        name: name
        for name in (
            "text_field",
            "image_field",
            "response_field",
            "messages_field",
            "weight_field",
            "ignore_column",
            "caption_prompt",
            "learned_answers",
            "image_root",
            "system_prompt",
        )
    },
}


def resolve_named_datasets(
    spec: TrainingSpec, datasets: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Any]
) -> TrainingSpec:
    """`spec` with the names of datasets resolved.

    A table's value applies where an option was not set or has the user's default of `[train]`; an option set for this
    run wins, also with its default value.

    Args:
        datasets: the tables by name.
        defaults: the `[train]` table.

    Raises:
        UsageError: a table has no path.
        SpecError: a value of a table is invalid.
    """
    changes: dict[str, Any] = {}
    if table := datasets.get(spec.dataset):
        for key, name in DATASET_KEYS.items():
            is_default = name in defaults and getattr(spec, name) == defaults[name]
            if key in table and (key == "path" or name not in spec.model_fields_set or is_default):
                changes[name] = table[key]
        changes["dataset"] = _require_path(spec.dataset, table)
    if spec.eval_dataset is not None and (table := datasets.get(spec.eval_dataset)):
        changes["eval_dataset"] = _require_path(spec.eval_dataset, table)
        if spec.eval_dataset_split is None:
            changes["eval_dataset_split"] = table.get("split")
    if not changes:
        return spec
    return TrainingSpec.parse(
        {**spec.model_dump(include=spec.model_fields_set), **changes},
        where=dict.fromkeys(changes, f"[datasets] {spec.dataset}"),
    )


def _require_path(name: str, table: Mapping[str, Any]) -> Any:
    if "path" not in table:
        raise UsageError(f"[datasets.{name}] has no path", hint="set it, e.g. path = 'data/mine.jsonl'")
    return table["path"]

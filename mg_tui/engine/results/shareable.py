"""What of a result's metadata may leave this machine: names of files and folders, and none of the folders they are in.

The model card is rendered from it, and it is what a push writes as `model_garden.json`.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mg_tui.core.options import options_of
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.result_metadata import ResultMetadata

_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_LOCAL_PATH: Final = re.compile(r"(?:/|~|\.{1,2}/|file:|[A-Za-z]:[\\/]|\\\\)[^\n]+")
# A model in the Hub's cache: .../models--OWNER--NAME/snapshots/COMMIT
_CACHED_MODEL: Final = re.compile(r".*/models--([^/]+?)--([^/]+)/snapshots/[^/]+/?")
_REMOTE: Final = ("hub:", "hf://", "https://", "http://")
# What the model was told is part of what it is, and is no path of ours.
_PROMPTS: Final = frozenset({"system_prompt", "caption_prompt"})
_ADDITIONAL: Final = "additional_dataset"


def shareable_metadata(metadata: ResultMetadata, *, base_name: str | None = None) -> ResultMetadata:
    """The metadata without local paths and without the run's id; what is shareable already stays as it is.

    Args:
        base_name: the base model's name on the Hub, where it was trained from a folder.
    """
    recorded = metadata.base
    name = base_name or _hub_name_of_cached(recorded.path or recorded.name)
    if name is None:
        # A relative path such as models/mine looks like a name on the Hub; the metadata knows that it was a folder.
        on_hub = recorded.path is None and _HUB_NAME.fullmatch(recorded.name) is not None
        name = recorded.name if on_hub else last_part(recorded.name)
    base = metadata.base.model_copy(update={"name": name, "path": None})
    update = {
        "base": base,
        "run": None,
        "spec": shareable_spec(metadata.spec),
        "training": _without_folders(metadata.training),
        "merge": _without_folders(metadata.merge),
    }
    return metadata.model_copy(update=update)


def shareable_spec(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run without the folders of its files; the output folder is left out."""
    paths = {option.name for option in options_of(TrainingSpec) if option.kind == "path"} | {"base_model"}
    shared: dict[str, Any] = {}
    for name, value in values.items():
        if name == "output_dir":
            continue
        if name in _PROMPTS:
            shared[name] = value
        elif name == _ADDITIONAL and isinstance(value, list | tuple):
            shared[name] = [_dataset_name(item) if isinstance(item, str) else item for item in value]
        elif name in paths and isinstance(value, str):
            shared[name] = _dataset_name(value)
        else:
            shared[name] = _without_folders(value)
    return shared


def is_local_path(text: str) -> bool:
    """Whether a text is written as a path of a machine: absolute, of a home folder, or relative with a leading dot."""
    return _LOCAL_PATH.fullmatch(text) is not None


def last_part(text: str) -> str:
    """The name at the end of a path."""
    return re.split(r"[\\/]", text.rstrip("\\/"))[-1] or "folder"


def _hub_name_of_cached(path: str) -> str | None:
    cached = _CACHED_MODEL.fullmatch(path)
    return f"{cached[1]}/{cached[2]}" if cached else None


def _dataset_name(value: str) -> str:
    """A dataset or base model as others may know it: a name on the Hub or a URL stays, of a path its last part."""
    if value.startswith("{"):
        try:
            part = json.loads(value)
        except ValueError:
            return "{}"
        return json.dumps({key: _dataset_name(item) if isinstance(item, str) else item for key, item in part.items()})
    if value.startswith(_REMOTE):
        return value
    if _HUB_NAME.fullmatch(value.partition("@")[0]) and not _has_data_suffix(value) and not Path(value).exists():
        return value
    return last_part(value) if "/" in value or "\\" in value else value


def _has_data_suffix(value: str) -> bool:
    return re.search(r"\.(jsonl?|csv|tsv|parquet|arrow|tar|zip|txt|ya?ml)(\.gz|\.zst)?(:[\d.]+)?$", value) is not None


def _without_folders(value: Any) -> Any:
    """Plain values in which every text that is a local path became its last part."""
    if isinstance(value, str):
        return last_part(value) if is_local_path(value) else value
    if isinstance(value, Mapping):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(item) for item in value]
    return value

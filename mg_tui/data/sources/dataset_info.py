"""LLaMA-Factory's `dataset_info.json`: named datasets, each with its file, its layout and the names of its fields.

{"my_data": {"file_name": "my_data.json", "formatting": "sharegpt", "columns": {"messages": "conversations",
 "images": "images"}, "tags": {"role_tag": "from", "content_tag": "value", "user_tag": "human"}}}
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.data.field_map import FieldMap, TurnKeys
from mg_tui.data.row_problems import quote_text, safe_line
from mg_tui.data.sources.file_types import read_small_file

DATASET_INFO_FILE: Final = "dataset_info.json"
_LOCATION_KEYS: Final = frozenset(
    {"file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"}
)
# Columns and keys of an entry without which its rows would mean something else.
_REFUSED_COLUMNS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("ranking", "chosen", "rejected"), "preference pairs"),
    "kto_tag": "scored answers",
    "videos": "videos",
    "audios": "audio",
    "tools": "tools",
}
_MAX_FILE_BYTES: Final = 16 * 2**20


def read_entries(file: Path) -> Mapping[str, Mapping[str, Any]] | None:
    """The entries of a `dataset_info.json`; None when it is a different kind of file with this name.

    Raises:
        DataError: it cannot be read.
    """
    try:
        if file.stat().st_size > _MAX_FILE_BYTES:
            return None
        content = json.loads(read_small_file(file, _MAX_FILE_BYTES))
    except OSError as error:
        raise DataError("cannot read dataset_info.json", where=safe_line(str(file)), why=error.strerror) from None
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    entries = {str(n): e for n, e in content.items() if isinstance(e, dict) and _LOCATION_KEYS & set(e)}
    return entries if entries and len(entries) == len(content) else None


def choose_entry(
    entries: Mapping[str, Mapping[str, Any]], requested: str | None, file: Path
) -> tuple[str, Mapping[str, Any]]:
    """The requested entry, or the only one.

    Raises:
        DataError: there is no such entry, or there are several and none is requested.
    """
    listed = ", ".join(safe_line(name, limit=40) for name in list(entries)[:20])
    if requested is None and len(entries) == 1:
        return next(iter(entries.items()))
    if requested in entries:
        return str(requested), entries[str(requested)]
    what = f"has no entry {quote_text(requested)}" if requested else f"has {len(entries)} entries"
    raise DataError(
        f"the description {what}",
        where=safe_line(str(file)),
        hint=f"choose one with --dataset-config: {listed}",
    )


def parse_entry_layout(entry: Mapping[str, Any], where: str) -> tuple[str, FieldMap]:
    """The layout and fields that an entry describes.

    Raises:
        DataError: it describes data that is not supported, or is malformed.
    """
    columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
    if not isinstance(columns, dict) or not isinstance(tags, dict):
        raise DataError("columns and tags must be objects", where=safe_line(where))
    for key, what in _REFUSED_COLUMNS.items():
        if entry.get(key) or columns.get(key):
            hint = "choose another entry"
            raise DataError(f"the dataset has {what}, which are not supported", where=safe_line(where), hint=hint)
    if entry.get("script_url"):
        raise DataError("the dataset uses a loading script, which is never executed", where=safe_line(where))
    column_names = {str(key): str(value) for key, value in columns.items()}
    tag_names = {str(key): str(value) for key, value in tags.items()}
    images = column_names.get("images") or column_names.get("image") or "images"
    if str(entry.get("formatting", "alpaca")) == "alpaca":
        return "alpaca", FieldMap(
            text=column_names.get("prompt", "instruction"),
            response=column_names.get("response", "output"),
            image=images,
            input=column_names.get("query"),
            system=column_names.get("system"),
            history=column_names.get("history"),
        )
    role, content = tag_names.get("role_tag", "from"), tag_names.get("content_tag", "value")
    keys = TurnKeys(
        role, content, tag_names.get("user_tag"), tag_names.get("assistant_tag"), tag_names.get("system_tag")
    )
    layout = "messages" if role == "role" else "conversations"
    messages = column_names.get("messages", "conversations")
    return layout, FieldMap(image=images, messages=messages, system=column_names.get("system"), turn_keys=keys)

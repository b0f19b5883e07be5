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

DATASET_INFO_FILE: Final = "dataset_info.json"
_LOCATION_KEYS: Final = frozenset(
    {"file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"}
)
_MAX_FILE_BYTES: Final = 16 * 2**20


def read_entries(file: Path) -> Mapping[str, Mapping[str, Any]] | None:
    """The entries of a `dataset_info.json`; None when it is another kind of file of that name.

    Raises:
        DataError: it cannot be read.
    """
    try:
        if file.stat().st_size > _MAX_FILE_BYTES:
            return None
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError("cannot read dataset_info.json", where=safe_line(str(file)), why=error.strerror) from None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    entries = {str(n): e for n, e in found.items() if isinstance(e, dict) and _LOCATION_KEYS & set(e)}
    return entries if entries and len(entries) == len(found) else None


def choose_entry(
    entries: Mapping[str, Mapping[str, Any]], asked: str | None, file: Path
) -> tuple[str, Mapping[str, Any]]:
    """The entry that was asked for, or the only one.

    Raises:
        DataError: there is none of that name, or there are several.
    """
    listed = ", ".join(safe_line(name, limit=40) for name in list(entries)[:20])
    if asked is None and len(entries) == 1:
        return next(iter(entries.items()))
    if asked in entries:
        return str(asked), entries[str(asked)]
    what = f"has no entry {quote_text(asked)}" if asked else f"has {len(entries)} entries"
    raise DataError(
        f"the description {what}",
        where=safe_line(str(file)),
        hint=f"choose one with --dataset-config: {listed}",
    )


def parse_entry_layout(entry: Mapping[str, Any], where: str) -> tuple[str, FieldMap]:
    """The layout and the fields an entry tells.

    Raises:
        DataError: it describes what is not trained on, or is malformed.
    """
    columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
    if not isinstance(columns, dict) or not isinstance(tags, dict):
        raise DataError("columns and tags must be objects", where=safe_line(where))
    for key, what in (("ranking", "preference pairs"), ("kto_tag", "scored answers")):
        if entry.get(key) or columns.get(key):
            raise DataError(f"the dataset has {what}, which are not supported", where=safe_line(where))
    if entry.get("script_url"):
        raise DataError("the dataset uses a loading script, which is never executed", where=safe_line(where))
    column = {str(key): str(value) for key, value in columns.items()}
    tag = {str(key): str(value) for key, value in tags.items()}
    images = column.get("images") or column.get("image") or "images"
    if str(entry.get("formatting", "alpaca")) == "alpaca":
        return "alpaca", FieldMap(
            text=column.get("prompt", "instruction"),
            response=column.get("response", "output"),
            image=images,
            input=column.get("query"),
            system=column.get("system"),
            history=column.get("history"),
        )
    role, content = tag.get("role_tag", "from"), tag.get("content_tag", "value")
    named = TurnKeys(role, content, tag.get("user_tag"), tag.get("assistant_tag"), tag.get("system_tag"))
    layout = "messages" if role == "role" else "conversations"
    messages = column.get("messages", "conversations")
    return layout, FieldMap(image=images, messages=messages, system=column.get("system"), turn_keys=named)

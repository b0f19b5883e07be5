"""A row of a dataset as plain values: what `datasets show --json` prints and the API answers."""

from typing import Any

from mg_tui.data.checks.fields import FieldCheck
from mg_tui.data.checks.findings import Finding
from mg_tui.data.row_loader import LoadedRow
from mg_tui.data.rows import Row


def row_record(row: Row, loaded: LoadedRow, tokens: dict[str, Any] | None = None) -> dict[str, Any]:
    """A row's number, values and problems, and its tokens, where they were asked for."""
    record: dict[str, Any] = {
        "row": row.number,
        "values": row.values,
        "problems": [{"field": p.field, "what": p.what, "hint": p.hint} for p in find_row_problems(loaded)],
    }
    return record if tokens is None else {**record, "seen": tokens}


def json_value(value: object) -> Any:
    """What JSON has no type for, for `json.dumps(default=)`: bytes by their number, anything else as text."""
    return {"bytes": len(value)} if isinstance(value, bytes) else str(value)


def find_row_problems(loaded: LoadedRow) -> list[Finding]:
    """What is wrong with a row's fields, turns and images."""
    return list(FieldCheck().check_row(loaded))

"""Rows inside one JSON object: a list in one of its fields, or an object of rows by their ids.

Academic datasets are published so. Those that keep questions, answers and images apart are joined: VQA's questions and
annotations, COCO's images and captions; `mg_tui.data.sources.annotations` knows them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.data.jsonl import parse_row
from mg_tui.data.row_problems import RowProblem, safe_line
from mg_tui.data.rows import MAX_ROW_BYTES, Row
from mg_tui.data.sources.annotations import AnnotationAdapter, find_adapter
from mg_tui.data.sources.base import FormatEvidence, Source
from mg_tui.data.sources.columns import TURN_COLUMNS
from mg_tui.data.sources.json_array import iterate_items
from mg_tui.data.sources.json_object import (
    Buffer,
    JsonMember,
    first_item,
    is_one_object,
    iterate_members,
    list_stream,
    open_buffer,
    read_value,
)

# Lists of objects that are columns of a single row, not rows.
_ROW_COLUMNS: Final = frozenset((*TURN_COLUMNS, "contents", "prompt", "completion", "images", "tools", "chosen"))
_ROW_FIELDS: Final = frozenset(("text", "question", "instruction", "image", "response", "answer", "output", "caption"))
_MAX_LISTED: Final = 10


class UnclearRows(DataError):
    """Which of the lists in an object has the rows has to be said; `lists` are their names."""

    def __init__(self, what: str, *, where: str, why: str | None = None, hint: str | None, lists: Sequence[str]):
        super().__init__(what, where=where, why=why, hint=hint)
        self.lists = tuple(lists)


@dataclass(frozen=True, slots=True)
class WrappedRows:
    """Where the rows of an object are: the field of a list; None for an object of rows. `lists` are all its lists."""

    field: str | None
    adapter: AnnotationAdapter | None
    why: str
    lists: tuple[str, ...] = ()


class WrappedJsonSource(Source):
    """The rows of a JSON object, numbered from 1."""

    def __init__(self, name: str, path: Path, evidence: FormatEvidence, rows: WrappedRows, encoding: str | None):
        super().__init__(name, "json", path, path.parent, evidence)
        self._file = path
        self._rows = rows
        self._encoding = encoding
        self.lists = rows.lists

    def rows(self, start: int = 1) -> Iterator[Row]:
        """See `Source`."""
        return dropwhile(lambda row: row.number < start, self._iterate())

    def _iterate(self) -> Iterator[Row]:
        any_row = False
        with open_buffer(self._file, self._encoding) as buffer:
            adapt = self._rows.adapter.open(buffer) if self._rows.adapter is not None else None
            for row in self._raw_rows(buffer):
                if row.values is None or adapt is None:
                    any_row = True
                    yield row
                    continue
                values = adapt(row.values)
                if isinstance(values, str):
                    any_row = True
                    yield Row(row.number, None, RowProblem(row.number, None, values), row.offset, row.length)
                elif values is not None:
                    any_row = True
                    yield Row(row.number, dict(values), None, row.offset, row.length)
        if not any_row:
            raise DataError("the dataset is empty", where=safe_line(str(self._file)))

    def _raw_rows(self, buffer: Buffer) -> Iterator[Row]:
        if self._rows.field is None:
            yield from _keyed_rows(buffer)
            return
        member = next((m for m in iterate_members(buffer) if m.name == self._rows.field), None)
        if member is None:
            raise DataError("the file has changed", where=safe_line(str(self._file)), hint="open it again")
        yield from iterate_items(list_stream(buffer, member))


def _keyed_rows(buffer: Buffer) -> Iterator[Row]:
    for number, member in enumerate(iterate_members(buffer), 1):
        length = member.end - member.start
        if length > MAX_ROW_BYTES:
            problem = RowProblem(number, None, f"has {length:,} bytes; the limit is {MAX_ROW_BYTES:,}")
            yield Row(number, None, problem, member.start, length)
            continue
        text = bytes(buffer[member.start : member.end])
        values, bad = parse_row(number, text, text, what="item")
        yield Row(number, None if values is None else {"__key__": member.name, **values}, bad, member.start, length)


def find_wrapped_rows(
    path: Path, *, field: str | None = None, split: str | None = None, encoding: str | None = None
) -> WrappedRows | None:
    """The rows inside a file that begins with `{`; None for JSON Lines.

    Args:
        field: the field that holds the list of rows, as the user named it.
        split: the requested split, for files that have several.

    Raises:
        DataError: the file is one object, and its rows are not found; or it has no list of this name.
    """
    with open_buffer(path, encoding) as buffer:
        if not is_one_object(buffer):
            if field is not None:
                what = "the file is not one JSON object, so it has no field of rows"
                raise DataError(what, where=safe_line(str(path)), hint="leave --json-field out")
            return None
        members = list(_first_members(buffer))
        single_line = buffer.find(b"\n", 0, members[-1].end if members else 1) < 0
        lists = tuple(member.name for member in members if member.kind == "[")
        if field is not None:
            found: WrappedRows | None = _named_rows(path, buffer, members, field, split)
        else:
            found = _detect_rows(path, buffer, members, split, single_line=single_line)
        return replace(found, lists=lists) if found is not None else None


def _first_members(buffer: Buffer) -> Iterator[JsonMember]:
    """The fields of the object; of an object with hundreds, which is one of rows by id, the first."""
    for count, member in enumerate(iterate_members(buffer), 1):
        yield member
        if count == 200:
            return


def _named_rows(
    path: Path, buffer: Buffer, members: Sequence[JsonMember], field: str, split: str | None
) -> WrappedRows:
    member = next((member for member in members if member.name == field), None)
    if member is None or member.kind != "[":
        lists = [member.name for member in members if member.kind == "["]
        what, hint = f"the file has no list {safe_line(field, limit=60)!r}", f"its lists are {_name_list(lists)}"
        raise UnclearRows(what, where=safe_line(str(path)), hint=hint if lists else None, lists=lists)
    first = first_item(buffer, member)
    found = _adapter(path, buffer, members, member, first, split) if isinstance(first, dict) else None
    return WrappedRows(field, found, f"the rows are in the field {safe_line(field, limit=60)}")


def _detect_rows(
    path: Path, buffer: Buffer, members: Sequence[JsonMember], split: str | None, *, single_line: bool
) -> WrappedRows | None:
    names = {member.name for member in members}
    firsts = {m.name: first for m in members if m.kind == "[" and isinstance(first := first_item(buffer, m), dict)}
    by_name = {member.name: member for member in members}
    for name in ("questions", "annotations", "data"):
        if name in firsts and (found := _adapter(path, buffer, members, by_name[name], firsts[name], split)):
            return WrappedRows(name, found, found.why)
    if _ROW_FIELDS & names or (firsts and firsts.keys() <= _ROW_COLUMNS):
        if single_line:
            return None  # JSON Lines of one row
        hint = "write each row on one line, e.g. with jq -c . data.json > data.jsonl"
        raise DataError("the file is a single row on several lines", where=safe_line(str(path)), hint=hint)
    if len(firsts) == 1:
        (name,) = firsts
        return WrappedRows(name, None, f"the file is an object with the rows in its field {safe_line(name, limit=60)}")
    if firsts:
        hint = f"name one with --json-field: {_name_list(firsts)}"
        what = "the file is an object with several lists"
        raise UnclearRows(what, where=safe_line(str(path)), hint=hint, lists=list(firsts))
    if len(members) > 1 and all(member.kind == "{" for member in members):
        first = read_value(buffer, members[0].start, members[0].end)
        if isinstance(first, dict):
            found = find_adapter(path, None, {"__key__": members[0].name, **first}, {}, split)
            return WrappedRows(None, found, found.why if found else "the file is an object of rows by their ids")
    if single_line:
        return None
    names_text = _name_list(names)
    raise DataError(
        "the file is one JSON object without a list of rows",
        where=safe_line(str(path)),
        why=f"its fields are {names_text}" if names_text else None,
        hint="write one JSON object a line, or name the list with --json-field",
    )


def _adapter(
    path: Path,
    buffer: Buffer,
    members: Sequence[JsonMember],
    member: JsonMember,
    first: Mapping[str, Any],
    split: str | None,
) -> AnnotationAdapter | None:
    scalars = {m.name: read_value(buffer, m.start, m.end) for m in members if m.kind not in "[{"}
    others = {m.name for m in members if m.kind == "["}
    return find_adapter(path, member.name, first, {**scalars, **dict.fromkeys(others, "[")}, split)


def _name_list(names: Any) -> str:
    listed = list(names)
    return ", ".join(safe_line(str(name), limit=40) for name in listed[:_MAX_LISTED])

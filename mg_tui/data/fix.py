"""A dataset without what is wrong with it: what can be repaired is, the rest goes to a file of rejected rows.

Repaired are: numbers where a text belongs; halves of surrogate pairs and characters that Unicode keeps from text; paths
with white space around them, backslashes, or another case of letters, when they then lead to exactly one file; and
repeated rows, which are left out. Everything else that would stop a run rejects the row. The original is never changed.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.data.checks.fields import FieldCheck
from mg_tui.data.checks.findings import CheckReport, Finding
from mg_tui.data.checks.runner import CheckLimits, Progress, ReadOptions, RowLoader, Stop, run_checks
from mg_tui.data.dataset_writer import DatasetWriter, RowRewriter
from mg_tui.data.field_map import ExampleDraft, FieldMap
from mg_tui.data.image_resolver import is_url
from mg_tui.data.rows import Row

if TYPE_CHECKING:
    from mg_tui.data.sources.base import Source

# Halves of surrogate pairs, and the three noncharacters that marks of learned text are made of.
_INVALID_CHARACTERS: Final = re.compile("[\ud800-\udfff\ufdd0-\ufdd2]")
_TEXT_KEYS: Final = ("content", "value", "text")


@dataclass(frozen=True, slots=True)
class FixResult:
    """What became of a dataset.

    Attributes:
        report: the check of the dataset as repaired, before rows were rejected.
        written, repaired, repeated, rejected: rows in the new file; those of them that were changed; repeats left out;
            rows in the file of rejected ones (repeats among them).
        rejects: that file; None when nothing was rejected.
    """

    report: CheckReport
    rows_written: int
    rows_repaired: int
    duplicates_dropped: int
    rows_rejected: int
    rejects: Path | None


class RepairedSource:
    """A source whose rows are repaired as they are read; `changed` has the numbers of those that were."""

    def __init__(self, source: "Source", reading: ReadOptions):
        self.name, self.format, self.path, self.base = source.name, source.format, source.path, source.base
        self.detected_format = reading.detected_format or source.detected_format
        self._source = source
        self._fields = self.detected_format.fields
        self._resolver = reading.make_resolver(source.base)
        self._folders: dict[Path, dict[str, list[str]]] = {}
        self.repaired_rows: set[int] = set()

    def rows(self, start: int = 1) -> Iterator[Row]:
        """See `Source`."""
        for row in self._source.rows(start):
            if row.values is None:
                yield row
                continue
            values = self._repair(row.values)
            if values is not row.values:
                self.repaired_rows.add(row.number)
                yield replace(row, values=values)
            else:
                yield row

    def count(self) -> int | None:
        """See `Source`."""
        return self._source.count()

    def raw(self, row: Row) -> str:
        """See `Source`."""
        return self._source.raw(row)

    def _repair(self, values: dict[str, Any]) -> dict[str, Any]:
        repaired = _numbers_to_text(values, self._fields)
        repaired = _map_texts(repaired, _remove_invalid_characters)
        for name in {self._fields.image, "image", "images"} & repaired.keys():
            fixed = _map_texts(repaired[name], self._repair_path)
            if fixed is not repaired[name]:
                repaired = {**repaired, name: fixed}
        return repaired

    def _repair_path(self, given: str) -> str:
        if is_url(given) or given[:5].lower() in ("data:", "file:") or len(given) > 4096 or "\0" in given:
            return given
        if self._image_exists(given):
            return given
        tried = dict.fromkeys([given.strip(), given.strip().replace("\\", "/")])
        for path in tried:
            if path and path != given and self._image_exists(path):
                return path
        last = next(reversed(tried), "")
        return self._match_ignoring_case(last) or given

    def _image_exists(self, given: str) -> bool:
        with suppress(Exception):
            self._resolver.locate(given)
            return True
        return False

    def _match_ignoring_case(self, given: str) -> str | None:
        """The one file whose path is this but for capitals, in the folder it names."""
        path = Path(given)
        folder = (self.base / path).parent
        if folder not in self._folders:
            names: dict[str, list[str]] = {}
            with suppress(OSError, ValueError):
                for entry in folder.iterdir():
                    names.setdefault(entry.name.casefold(), []).append(entry.name)
            self._folders[folder] = names
        found = self._folders[folder].get(path.name.casefold(), [])
        return str(path.with_name(found[0])) if len(found) == 1 else None


def _numbers_to_text(values: dict[str, Any], fields: FieldMap) -> dict[str, Any]:
    """Numbers as text where a text belongs: in the fields of question and answer, and in what turns say."""

    def turn(item: Any) -> Any:
        if not isinstance(item, Mapping):
            return item
        numbers = {key: _format_number(item[key]) for key in _TEXT_KEYS if _is_number(item.get(key))}
        return {**item, **numbers} if numbers else item

    changes: dict[str, Any] = {
        name: _format_number(values[name]) for name in (fields.text, fields.response) if _is_number(values.get(name))
    }
    for name in (fields.messages, "messages", "conversations"):
        turns = values.get(name) if name else None
        if name and isinstance(turns, list):
            fixed = [turn(item) for item in turns]
            if any(a is not b for a, b in zip(fixed, turns, strict=True)):
                changes[name] = fixed
    return {**values, **changes} if changes else values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _format_number(value: float) -> str:
    return json.dumps(value)


def _remove_invalid_characters(text: str) -> str:
    return _INVALID_CHARACTERS.sub("", text) if not text.isascii() else text


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with every text in it changed; itself when nothing was."""
    if isinstance(value, str):
        changed = change(value)
        return value if changed == value else changed
    if isinstance(value, dict):
        items = {key: _map_texts(inner, change) for key, inner in value.items()}
        return items if any(items[key] is not value[key] for key in value) else value
    if isinstance(value, list):
        found = [_map_texts(inner, change) for inner in value]
        return found if any(a is not b for a, b in zip(found, value, strict=True)) else value
    return value


def fix_dataset(
    source: "Source",
    reading: ReadOptions,
    limits: CheckLimits,
    out: Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> FixResult:
    """Write a repaired dataset to `out` and rejected rows to `<stem>.rejects.jsonl` beside it.

    Raises:
        UsageError: something is in the way, or `out` is the dataset itself.
        DataError, EnvironmentProblem: as `run_checks`; or the new files cannot be written.
    """
    repaired: Any = RepairedSource(source, reading)
    with DatasetWriter(out, force=force, sources=[source.path]) as new:
        rejects = new.path.with_name(f"{new.path.stem}.rejects.jsonl")
        report = run_checks(repaired, reading, limits, progress=progress, stop=stop)
        judge, bad = RowLoader(repaired, reading), set(report.bad_rows())
        reasons = _RejectReasons(report, judge)
        repeats = set(report.rows_by_kind.get("row-repeated", ())) - bad
        resolver = reading.make_resolver(source.base)
        fields = repaired.detected_format.fields
        writer = RowRewriter(source, resolver, new.path, said=(fields.text, fields.response))
        with DatasetWriter(rejects, force=True, sources=[source.path]) as aside:
            changed = 0
            for row in repaired.rows():
                draft = judge.read_draft(row)
                line = None
                if row.number not in bad and row.number not in repeats and isinstance(draft, ExampleDraft):
                    line = writer.rewrite(row, draft, changed=row.number in repaired.repaired_rows)
                if line is None:
                    aside.write_line(reasons.line(source, row))
                else:
                    changed += row.number in repaired.repaired_rows
                    new.write_line(line)
        judge.close()
    if not aside.rows:
        rejects.unlink(missing_ok=True)
    return FixResult(report, new.rows, changed, len(repeats), aside.rows, rejects if aside.rows else None)


class _RejectReasons:
    """Why rows were rejected. What is wrong with fields and images is looked at again, and so told of every row."""

    def __init__(self, report: CheckReport, judge: RowLoader):
        self._report = report
        self._judge = judge
        self._fields = FieldCheck()
        self._kept: dict[int, list[Finding]] = {}
        for finding in report.findings:
            if finding.severity == "error" or finding.kind == "row-repeated":
                self._kept.setdefault(finding.row, []).append(finding)

    def line(self, source: "Source", row: Row) -> bytes:
        """The row as `problems.write_rejects` writes it."""
        found = list(self._fields.check_row(self._judge([row])[0]))
        told = {finding.kind for finding in found}
        found += [finding for finding in self._kept.get(row.number, ()) if finding.kind not in told]
        told = {finding.kind for finding in found}
        beyond = self._report.unlisted_findings(row.number, told)
        found += [one for one in beyond if one.severity == "error" or one.kind == "row-repeated"]
        reasons = [{"field": one.field, "what": one.what, "hint": one.hint} for one in found]
        return json.dumps({"row": row.number, "problems": reasons, "raw": source.raw(row)}).encode("ascii")

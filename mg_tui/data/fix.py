"""A repaired copy of a dataset: what can be fixed is, all other bad rows go to a file of rejected rows.

Fixed are: numbers where a text is required; lone surrogates and noncharacters; image paths with surrounding white
space, backslashes or a different letter case, when the corrected path matches exactly one file; and duplicate rows,
which are dropped. Every other error rejects the row. The original is never modified.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mg_tui.data.checks.fields import FieldCheck
from mg_tui.data.checks.findings import CheckReport, Finding
from mg_tui.data.checks.runner import CheckLimits, run_checks
from mg_tui.data.dataset_writer import DatasetWriter, RowRewriter
from mg_tui.data.field_map import ExampleDraft, FieldMap
from mg_tui.data.image_resolver import is_url
from mg_tui.data.progress import Progress, Stop
from mg_tui.data.row_loader import ReadOptions, RowLoader
from mg_tui.data.row_problems import RowProblem, reject_line
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import Source
from mg_tui.data.sources.detection import detect_format

# Lone surrogates, and the three noncharacters that delimit supervised text.
_INVALID_CHARACTERS: Final = re.compile("[\ud800-\udfff\ufdd0-\ufdd2]")
_TEXT_KEYS: Final = ("content", "value", "text")


@dataclass(frozen=True, slots=True)
class FixResult:
    """The result of `fix_dataset`.

    Attributes:
        report: the check of the repaired dataset, before rows were rejected.
        rows_written: rows in the new file; `rows_repaired` of them were changed.
        duplicates_dropped: repeats of rows that were left out.
        rows_rejected: rows in the file of rejected rows, duplicates included.
        rejects: that file; None when nothing was rejected.
    """

    report: CheckReport
    rows_written: int
    rows_repaired: int
    duplicates_dropped: int
    rows_rejected: int
    rejects: Path | None


class RepairedSource(Source):
    """A source whose rows are repaired as they are read; `repaired_rows` holds the numbers of changed rows."""

    def __init__(self, source: Source, options: ReadOptions, fields: FieldMap):
        self.name, self.format, self.path, self.base = source.name, source.format, source.path, source.base
        self.evidence, self.address = source.evidence, source.address
        self._source = source
        self._fields = fields
        self._resolver = options.make_resolver(source.base)
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

    def _repair_path(self, path: str) -> str:
        if is_url(path) or path[:5].lower() in ("data:", "file:") or len(path) > 4096 or "\0" in path:
            return path
        if self._image_exists(path):
            return path
        candidates = list(dict.fromkeys([path.strip(), path.strip().replace("\\", "/")]))
        for candidate in candidates:
            if candidate and candidate != path and self._image_exists(candidate):
                return candidate
        return self._match_ignoring_case(candidates[-1]) or path

    def _image_exists(self, path: str) -> bool:
        with suppress(Exception):
            self._resolver.resolve(path)
            return True
        return False

    def _match_ignoring_case(self, name: str) -> str | None:
        """The path of the one file in the named folder that differs only in letter case; None for none or several."""
        path = Path(name)
        folder = (self.base / path).parent
        if folder not in self._folders:
            names: dict[str, list[str]] = {}
            with suppress(OSError, ValueError):
                for entry in folder.iterdir():
                    names.setdefault(entry.name.casefold(), []).append(entry.name)
            self._folders[folder] = names
        matches = self._folders[folder].get(path.name.casefold(), [])
        return str(path.with_name(matches[0])) if len(matches) == 1 else None


def _numbers_to_text(values: dict[str, Any], fields: FieldMap) -> dict[str, Any]:
    """Numbers as text where a text is required: in the fields of question and answer, and in the content of turns."""

    def fix_turn(item: Any) -> Any:
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
            fixed = [fix_turn(item) for item in turns]
            if any(new is not old for new, old in zip(fixed, turns, strict=True)):
                changes[name] = fixed
    return {**values, **changes} if changes else values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _format_number(value: float) -> str:
    return json.dumps(value)


def _remove_invalid_characters(text: str) -> str:
    return _INVALID_CHARACTERS.sub("", text) if not text.isascii() else text


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with `change` applied to every text in it; the same object when nothing changed."""
    if isinstance(value, str):
        changed = change(value)
        return value if changed == value else changed
    if isinstance(value, dict):
        items = {key: _map_texts(inner, change) for key, inner in value.items()}
        return items if any(items[key] is not value[key] for key in value) else value
    if isinstance(value, list):
        mapped = [_map_texts(inner, change) for inner in value]
        return mapped if any(new is not old for new, old in zip(mapped, value, strict=True)) else value
    return value


def fix_dataset(
    source: Source,
    options: ReadOptions,
    limits: CheckLimits,
    out: Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> FixResult:
    """Write a repaired dataset to `out` and rejected rows to `<stem>.rejects.jsonl` beside it.

    Raises:
        UsageError: an output exists, or `out` is the dataset itself.
        DataError, EnvironmentProblem: as `run_checks`; or the new files cannot be written.
    """
    # Detected once, on the unmodified rows: the repaired ones must be read with the same fields.
    detected = options.detected_format or detect_format(source)
    options = replace(options, detected_format=detected)
    repaired = RepairedSource(source, options, detected.fields)
    with DatasetWriter(out, force=force, sources=[source.path]) as new:
        rejects = new.path.with_name(f"{new.path.stem}.rejects.jsonl")
        report = run_checks(repaired, options, limits, progress=progress, stop=stop)
        bad = set(report.bad_rows())
        duplicates = set(report.rows_by_kind.get("row-repeated", ())) - bad
        texts = (detected.fields.text, detected.fields.response)
        rewriter = RowRewriter(source, options.make_resolver(source.base), new.path, text_fields=texts)
        with (
            closing(RowLoader(repaired, options)) as loader,
            DatasetWriter(rejects, force=True, sources=[source.path]) as rejected,
        ):
            reasons, rows_repaired = _RejectReasons(report, loader), 0
            for row in repaired.rows():
                draft = loader.read_draft(row)
                was_repaired = row.number in repaired.repaired_rows
                line = None
                if row.number not in bad and row.number not in duplicates and isinstance(draft, ExampleDraft):
                    line = rewriter.rewrite(row, draft, changed=was_repaired)
                if line is None:
                    rejected.write_line(reasons.line(source, row))
                else:
                    rows_repaired += was_repaired
                    new.write_line(line)
    if not rejected.rows:
        rejects.unlink(missing_ok=True)
    return FixResult(
        report, new.rows, rows_repaired, len(duplicates), rejected.rows, rejects if rejected.rows else None
    )


class _RejectReasons:
    """Why rows were rejected. Fields and images are checked again, so that every row has its reason in full."""

    def __init__(self, report: CheckReport, loader: RowLoader):
        self._report = report
        self._loader = loader
        self._field_check = FieldCheck()
        self._by_row: dict[int, list[Finding]] = {}
        for finding in report.findings:
            if _rejects_row(finding):
                self._by_row.setdefault(finding.row, []).append(finding)

    def line(self, source: Source, row: Row) -> bytes:
        """The row as `write_rejects` writes it."""
        findings = list(self._field_check.check_row(self._loader.load([row])[0]))
        kinds = {finding.kind for finding in findings}
        findings += [finding for finding in self._by_row.get(row.number, ()) if finding.kind not in kinds]
        unlisted = self._report.unlisted_findings(row.number, {finding.kind for finding in findings})
        findings += [finding for finding in unlisted if _rejects_row(finding)]
        problems = [RowProblem(row.number, finding.field, finding.what, finding.hint) for finding in findings]
        return reject_line(row.number, problems, source.raw(row)).encode("ascii")


def _rejects_row(finding: Finding) -> bool:
    return finding.severity == "error" or finding.kind == "row-repeated"

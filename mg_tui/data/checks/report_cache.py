"""A cache of reports of checks: a dataset that has not changed is not checked again.

A report is stored under everything it depends on: the content of the dataset (`Dataset.content`) and of the evaluation
dataset, the limits, and the version of this program. A damaged file is treated like a missing one.
"""

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, Final

import mg_tui
from mg_tui.core.files import write_atomic
from mg_tui.data.checks.findings import CheckReport, Finding, Histogram, LengthSuggestion

_FORMAT: Final = 1
_HISTOGRAMS: Final = ("total_tokens", "image_tokens", "supervised_tokens", "pixels", "answer_characters")


class ReportCache:
    """The cached report of one check.

    Args:
        cache: the garden's cache folder.
        parts: everything the report depends on, as JSON values.
    """

    def __init__(self, cache: Path, parts: Sequence[Any]):
        text = json.dumps([_FORMAT, mg_tui.__version__, *parts])
        self._key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        self._file = cache / "checks" / f"{self._key[:40]}.json"

    def load(self) -> CheckReport | None:
        """The report; None when there is none."""
        try:
            digest, _line_end, body = self._file.read_bytes().partition(b"\n")
            if hashlib.sha256(self._key.encode() + body).hexdigest().encode() != digest:
                return None
            return _from_record(json.loads(body.decode("utf-8", "surrogatepass")))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, report: CheckReport) -> None:
        """Store a complete report; a cache that cannot be written is ignored."""
        if not report.complete:
            return
        body = json.dumps(_to_record(report), ensure_ascii=False).encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(self._key.encode() + body).hexdigest().encode()
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._file, digest + b"\n" + body)


def _to_record(report: CheckReport) -> dict[str, Any]:
    histograms = {name: getattr(report, name) for name in _HISTOGRAMS}
    return {
        "dataset": report.dataset,
        "path": str(report.path) if report.path is not None else None,
        "rows": report.rows,
        "good_rows": report.good_rows,
        "images": report.images,
        "image_uses": report.image_uses,
        "findings": [asdict(finding) for finding in report.findings],
        "counts": dict(report.counts),
        "rows_by_kind": {kind: list(rows) for kind, rows in report.rows_by_kind.items()},
        "histograms": {name: h if h is None else list(h.counts.items()) for name, h in histograms.items()},
        "formats": dict(report.formats),
        "image_locations": dict(report.image_locations),
        "suggestions": [astuple(suggestion) for suggestion in report.suggestions],
        "seconds": report.seconds,
    }


def _from_record(record: Mapping[str, Any]) -> CheckReport:
    histograms: dict[str, Any] = {
        name: None if counts is None else Histogram({int(value): int(count) for value, count in counts})
        for name, counts in record["histograms"].items()
    }
    plain = ("dataset", "rows", "good_rows", "images", "image_uses", "counts", "formats", "image_locations", "seconds")
    return CheckReport(
        **{name: record[name] for name in plain},
        **histograms,
        path=Path(record["path"]) if record["path"] is not None else None,
        findings=tuple(Finding(**finding) for finding in record["findings"]),
        rows_by_kind={kind: array("Q", rows) for kind, rows in record["rows_by_kind"].items()},
        suggestions=tuple(LengthSuggestion(*suggestion) for suggestion in record["suggestions"]),
    )

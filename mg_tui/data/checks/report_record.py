"""Reads a check's report from its record: what `--json` prints and the API answers."""

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any, Final

from mg_tui.data.checks.findings import KINDS, CheckReport, Finding, Histogram, LengthSuggestion

_SHARES: Final = (("p10", 0.1), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("largest", 1.0))


def read_report(record: Mapping[str, Any]) -> CheckReport:
    """The report of a record by `CheckReport.as_dict`.

    Histograms have its percentiles, and nothing between them; the numbers of all rows with a finding are not in it.
    Findings of kinds that this version does not know are left out.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    findings = (
        Finding(item["row"] or 0, item["kind"], item["field"], str(item["what"]), item["hint"])
        for item in record["findings"]
        if item["kind"] in KINDS
    )
    return CheckReport(
        dataset=str(record["dataset"]),
        rows=int(record["rows"]),
        good_rows=int(record["good_rows"]),
        images=int(record["images"]),
        image_uses=int(record["image_uses"]),
        findings=tuple(findings),
        counts={kind: int(count) for kind, count in record["counts"].items() if kind in KINDS},
        rows_by_kind={},
        total_tokens=_histogram(record["tokens"]),
        image_tokens=_histogram(record["image_tokens"]),
        supervised_tokens=_histogram(record["learned_tokens"]),
        pixels=_histogram(record["pixels"]) or Histogram(),
        answer_characters=_histogram(record["answer_characters"]) or Histogram(),
        formats=dict(record["formats"]),
        image_locations=dict(record["places"]),
        suggestions=tuple(LengthSuggestion(i["change"], i["flags"], int(i["saves"])) for i in record["remedies"]),
        complete=bool(record["complete"]),
        seconds=float(record["seconds"]),
        path=Path(str(record["dataset"])),
    )


def _histogram(record: Mapping[str, int] | None) -> Histogram | None:
    """Counts with the same percentiles as those of the record."""
    if record is None:
        return None
    counts: dict[int, int] = {}
    passed = 0
    for name, share in _SHARES:
        until = ceil(share * int(record["count"]))
        counts[int(record[name])] = counts.get(int(record[name]), 0) + until - passed
        passed = until
    return Histogram({value: count for value, count in counts.items() if count})

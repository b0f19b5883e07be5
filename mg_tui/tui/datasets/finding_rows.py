"""The findings of a check, as tables show them: by kind, and the worst severity of each row."""

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from mg_tui.data.checks.findings import CheckReport

_SEVERITY_ORDER: Final = {"error": 0, "warning": 1, "note": 2}


class FindingKindRow(NamedTuple):
    """A kind of finding in the list, and how many rows have it."""

    kind: str
    severity: str
    title: str
    rows: int
    why: str


def list_finding_kinds(report: "CheckReport") -> list[FindingKindRow]:
    """The kinds in a report, errors first, the commonest first."""
    from mg_tui.data.checks.findings import KINDS

    rows = [FindingKindRow(kind, *KINDS[kind][:2], count, KINDS[kind].why) for kind, count in report.counts.items()]
    return sorted(rows, key=lambda row: (_SEVERITY_ORDER[row.severity], -row.rows, row.kind))


class RowSeverities:
    """The worst severity of each row, and which rows have findings.

    Built in the thread of the check: a million rows take a moment.
    """

    def __init__(self, report: "CheckReport | None" = None) -> None:
        from mg_tui.data.checks.findings import KINDS

        rows_by_kind = report.rows_by_kind.items() if report is not None else ()
        self._rows_by_severity = sorted(
            ((KINDS[kind].severity, rows) for kind, rows in rows_by_kind), key=lambda item: _SEVERITY_ORDER[item[0]]
        )
        numbers: set[int] = set().union(*(rows for _severity, rows in self._rows_by_severity))
        self.rows = array("Q", sorted(numbers - {0}))

    def severity_of(self, number: int) -> str:
        """ "error", "warning", "note", or empty without a finding."""
        for severity, rows in self._rows_by_severity:
            index = bisect_left(rows, number)
            if index < len(rows) and rows[index] == number:
                return severity
        return ""


def pane_counts(report: "CheckReport | None") -> Mapping[str, int]:
    """Numbers beside the titles of panes."""
    return {"findings": sum(report.counts.values())} if report is not None else {}

"""Run the conformance kit on every installed family and write the matrix into docs/families.md.

`uv run python scripts/family_matrix.py` checks all families on tiny checkpoints (minutes); `--family KEY` some, whose
columns alone are replaced; `--print` prints the table instead. Exits with 1 if a check fails.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mg_tui.families.family import ModelFamily
from mg_tui.families.registry import load_registry
from mg_tui.families.testing import check_family, live_folder, live_results

PAGE = Path(__file__).resolve().parents[1] / "docs" / "families.md"
START, END = "<!-- matrix: scripts/family_matrix.py -->", "<!-- end of matrix -->"
DECLARATION = "declaration"

Column = dict[str, str]  # by check: "yes", "no", or why it does not apply


def run_family(family: ModelFamily) -> Column:
    """The kit's results for a family; findings go to standard error."""
    from mg_tui.families import conformance

    with tempfile.TemporaryDirectory() as work:
        folder = live_folder(family, Path(work))
        findings = check_family(family, folder)
        results = live_results(family, folder)
    names = [check.__name__.replace("_", " ") for check in conformance.INPUT_CHECKS + conformance.WEIGHT_CHECKS]
    column = {name: "no" if any(f": {name}:" in finding for finding in findings) else "yes" for name in names}
    column = {DECLARATION: "no" if findings and "no" not in column.values() else "yes", **column}
    for result in results:
        findings += [f"{family.key}: {result.name}: {finding}" for finding in result.findings if result.failed]
        reason = result.findings[0] if result.status == "not applicable" else ""
        column[result.name] = {"ok": "yes", "failed": "no"}.get(result.status, reason)
    for finding in findings:
        print(finding, file=sys.stderr)
    return column


def format_matrix(columns: Mapping[str, Column]) -> str:
    """The table, and below it why a check does not apply."""
    checks = list(dict.fromkeys(check for column in columns.values() for check in column))
    notes: list[str] = []
    lines = [f"| check | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for check in checks:
        cells = []
        for column in columns.values():
            value = column.get(check, "no")
            if value not in ("yes", "no"):
                if value not in notes:
                    notes.append(value)
                value = f"– ({notes.index(value) + 1})"
            cells.append(value)
        lines.append(f"| {check} | {' | '.join(cells)} |")
    return "\n".join([*lines, *(["", *(f"{n}. {note}" for n, note in enumerate(notes, 1))] if notes else [])])


def read_matrix(page: str) -> dict[str, Column]:
    """The columns of the table in a page."""
    table = page.partition(START)[2].partition(END)[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    if not rows:
        return {}
    notes = dict(re.findall(r"^(\d+)\. (.+)$", table, re.MULTILINE))
    columns: dict[str, Column] = {name: {} for name in rows[0][1:]}
    for check, *cells in rows[2:]:
        for name, cell in zip(columns, cells, strict=True):
            number = re.search(r"\((\d+)\)", cell)
            columns[name][check] = notes[number.group(1)] if number else cell
    return columns


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", action="append", help="its key; by default all installed ones")
    parser.add_argument("--print", action="store_true", dest="only_print", help="print the table")
    options = parser.parse_args(arguments)
    page = PAGE.read_text(encoding="utf-8")
    installed = load_registry().families
    columns = read_matrix(page) if options.family else {}
    for family in installed:
        if not options.family or family.key in options.family:
            print(f"checking {family.title} ...", file=sys.stderr)
            columns[family.title] = run_family(family)
    order = [family.title for family in installed if family.title in columns]
    matrix = format_matrix({title: columns[title] for title in order})
    if options.only_print:
        print(matrix)
    else:
        before, _, rest = page.partition(START)
        PAGE.write_text(f"{before}{START}\n{matrix}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return int(any("no" in column.values() for column in columns.values()))


if __name__ == "__main__":
    raise SystemExit(main())

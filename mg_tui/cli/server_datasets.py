"""`--server URL datasets list`, `show` and `check`: datasets of the server."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.cli.datasets.tokens import format_tokens
from mg_tui.cli.progress import spinner
from mg_tui.cli.server import refuse_with_server
from mg_tui.core.text import printable

if TYPE_CHECKING:
    from mg_tui.data.checks.findings import CheckReport
    from mg_tui.remote.connection import ApiConnection
    from mg_tui.remote.garden import RemoteGarden

_PAGE: Final = 50
_DEFAULT_ROWS: Final = 10
# Options of how rows are read that `/datasets/rows` takes.
_QUERY_OPTIONS: Final = frozenset({"dataset_format", "dataset_layout", "dataset_split"})
_READ_SECONDS: Final = 600.0  # a long file is indexed, and a tokenizer loaded, before the answer
_CHECK_SECONDS: Final = 3600.0
_MAX_CHARACTERS: Final = 2000  # of one value


def listed_there(garden: "RemoteGarden") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The datasets of the server, as `datasets list --json` prints them: named ones, and those opened lately."""
    with garden.connect() as connection:
        items = connection.get("/datasets")["data"]
    named = [
        {"dataset": item["name"], "path": item.get("path") or "", "named": True}
        for item in items
        if item["source"] == "garden.toml"
    ]
    lately = [
        {"dataset": item["name"], "opened": item.get("opened_at") or 0.0, "here": bool(item.get("here", True))}
        for item in items
        if item["source"] == "recent"
    ]
    return named, lately


def show_there(
    garden: "RemoteGarden",
    file: str,
    numbers: Sequence[int],
    first: int,
    last: int | None,
    *,
    default: bool,
    tokens: bool,
    base_model: str | None,
    as_json: bool,
    values: Mapping[str, Any],
) -> None:
    """Print rows of a dataset of the server.

    Args:
        garden: the server.
        file: the dataset, a path or name there.
        numbers: the rows, or none for a range.
        first: the first row of the range.
        last: the last one; None for the end.
        default: whether the range was not given: then it has ten rows.
        tokens: whether to print rows as the model sees them.
        base_model: for the tokens.
        as_json: whether to print JSON.
        values: how rows are read.

    Raises:
        GardenError: the server refuses, or an option does not work there.
    """
    others = [] if tokens else [name for name in values if name not in _QUERY_OPTIONS]
    if others:
        raise refuse_with_server(f"--{others[0].replace('_', '-')}", "rows are sent as the server reads them")
    if default and last is None:
        last = first + _DEFAULT_ROWS - 1
    with garden.connect(timeout=_READ_SECONDS) as connection:
        records = _rows(connection, file, numbers, first, last, values)
        if tokens:
            body = {**values, "dataset": file, **({"base_model": base_model} if base_model else {})}
            records = (
                connection.post("/datasets/tokens", {**body, "row": record["row"]})
                for record in _rows(connection, file, numbers, first, last, _known(values))
            )
        _print_records(records, as_json=as_json)


def check_there(
    garden: "RemoteGarden", file: str, *, base_model: str | None, full: bool, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Check a dataset of the server; the report's record. Raises as the server refuses."""
    model = {"base_model": base_model} if base_model else {}
    body = {**values, "dataset": file, **model, "headers_only": not full}
    with (
        spinner(f"the server checks {printable(file, limit=60)}"),
        garden.connect(timeout=_CHECK_SECONDS) as connection,
    ):
        record: dict[str, Any] = connection.post("/datasets/check", body)
        return record


def report_there(garden: "RemoteGarden", record: Mapping[str, Any]) -> "CheckReport":
    """The report of a record of the server.

    Raises:
        GardenError: it is none.
    """
    from mg_tui.data.checks.report_record import read_report

    try:
        return read_report(record)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise garden.unreadable("its report") from None


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in _QUERY_OPTIONS}


def _rows(
    connection: "ApiConnection",
    file: str,
    numbers: Sequence[int],
    first: int,
    last: int | None,
    values: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    query = {**_known(values), "dataset": file}
    for number in numbers:
        found = connection.get("/datasets/rows", {**query, "after": number - 1, "limit": 1})["data"]
        if not found:
            from mg_tui.core.errors import UsageError

            raise UsageError(f"There is no row {number:,}.", where=file)
        yield from found
    more = not numbers
    while more and (last is None or first <= last):
        limit = _PAGE if last is None else min(_PAGE, last - first + 1)
        page = connection.get("/datasets/rows", {**query, "after": first - 1, "limit": limit})
        yield from page["data"]
        first, more = first + limit, bool(page["has_more"])


def _print_records(records: Iterator[dict[str, Any]], *, as_json: bool) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for number, record in enumerate(records):
        if as_json:
            click.echo(json.dumps(record, ensure_ascii=False))
            continue
        if number:
            console.print()
        for line in _record_lines(record):
            console.print(line)


def _record_lines(record: Mapping[str, Any]) -> Iterator[Any]:
    from rich.text import Text

    yield Text(f"row {record['row']:,}", style="bold")
    for problem in record["problems"]:
        field = f"{problem['field']}: " if problem["field"] else ""
        yield Text(printable(f"  ✗ {field}{problem['what']}"), style="red")
        if problem["hint"]:
            yield Text(printable(f"    try: {problem['hint']}"), style="dim")
    if "seen" in record:
        yield from format_tokens(record["seen"])
        return
    for name, value in (record["values"] or {}).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        text = printable(text, limit=_MAX_CHARACTERS).replace("\n", "\n            ")
        yield Text.assemble((f"  {printable(str(name), limit=40):<9} ", "cyan"), text)

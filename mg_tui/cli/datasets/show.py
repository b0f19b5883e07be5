"""`model-garden datasets show`: rows as they are, or token by token as the model sees them."""

import json
import re
import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.cli.datasets.common import (
    BASE_MODEL_OPTION,
    dataset_spec,
    find_rows_with_finding,
    is_reader_option,
    open_and_remember,
    print_detected_format,
    progress_bar,
)
from mg_tui.cli.datasets.tokens import format_tokens, inspect_row, open_token_inspector
from mg_tui.cli.spec_flags import SpecCommand, spec_flags
from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec

if TYPE_CHECKING:
    from mg_tui.data.browser import Browser
    from mg_tui.data.row_loader import LoadedRow
    from mg_tui.data.rows import Row

_BATCH_ROWS: Final = 64
_DEFAULT_ROWS: Final = 10  # rows
_RANGE: Final = re.compile(r"(\d*):(\d*)")
_MAX_CHARACTERS: Final = 2000  # characters of a text on a terminal


@spec_flags(TrainingSpec, only=is_reader_option)
@click.command("show", cls=SpecCommand)
@click.argument("file")
@click.option("--row", type=click.IntRange(min=1), multiple=True, help="Show this row; repeatable.")
@click.option("--rows", "span", metavar="A:B", help="Show rows A to B, inclusive; either may be omitted.")
@click.option("--find", metavar="TEXT", help="Show only rows containing this text, case-insensitive.")
@click.option("--finding", metavar="KIND", help="Show only rows with this kind of finding, e.g. too-long.")
@click.option("--tokens", is_flag=True, help="Show the row after the chat template, with supervised tokens marked.")
@BASE_MODEL_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per row.")
@click.pass_obj
def show(
    settings: Settings,
    /,
    file: str,
    row: tuple[int, ...],
    span: str | None,
    find: str | None,
    finding: str | None,
    tokens: bool,
    base_model: str | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Show rows of FILE: the first ten, or the selected ones.

    --tokens applies the chat template of --base-model; supervised text is shown between ⟦ and ⟧, and images with size and token count.
    """
    from mg_tui.data.browser import open_browser
    from mg_tui.data.row_loader import RowLoader

    spec = dataset_spec(settings, file, base_model, values)
    if tokens and base_model is None and "base_model" not in settings.train:
        raise UsageError("--tokens requires a base model", hint="add --base-model, e.g. --base-model tiny")
    source, reading = open_and_remember(settings, spec)
    if not as_json:
        print_detected_format(source, reading)
    browser = open_browser(source, settings.cache)
    judge = RowLoader(source, reading)
    first, last = _parse_range(span)
    if finding is not None:
        row = _filter_rows(find_rows_with_finding(settings, spec, source, reading, finding), row, first, last, finding)
    wanted = _iterate_rows(browser, row, first, last, find, default=span is None)
    printer = _RowPrinter(as_json=as_json)
    try:
        if not tokens:
            for one in wanted:
                printer.print_row(one, judge.load([one])[0])
            return
        with open_token_inspector(spec) as seer:
            for one in wanted:
                printer.print_row(one, judged := judge.load([one])[0], inspect_row(seer, judged))
    finally:
        judge.close()


def _filter_rows(found: list[int], asked: tuple[int, ...], first: int, last: int | None, kind: str) -> tuple[int, ...]:
    """Rows of a kind of finding, as far as they are among those that are asked for."""
    numbers = [n for n in found if n >= first and (last is None or n <= last) and (not asked or n in asked)]
    if not numbers:
        raise UsageError(f"no row has a finding of kind {kind}", where="among the selected rows")
    return tuple(numbers)


def _parse_range(text: str | None) -> tuple[int, int | None]:
    if text is None:
        return 1, None
    if text.isdecimal():
        return int(text), int(text)
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--rows takes A:B, not {text!r}", hint="e.g. --rows 100:120")
    first, last = int(found[1] or 1), int(found[2]) if found[2] else None
    if last is not None and last < first:
        raise UsageError(f"--rows {text} is empty: the second number is smaller than the first")
    return first, last


def _iterate_rows(
    browser: "Browser", numbers: tuple[int, ...], first: int, last: int | None, find: str | None, *, default: bool
) -> Iterator["Row"]:
    if numbers:
        _index_to(browser, max(numbers))
        yield from (browser.read_row(number) for number in numbers)
        return
    limit = _DEFAULT_ROWS if default and find is None else None
    if first > _BATCH_ROWS:
        _index_to(browser, first)
    if find is not None:
        found = (number for number in browser.find(find, first))
        for number in islice(found, limit):
            if last is not None and number > last:
                return
            yield browser.read_row(number)
        return
    shown = 0
    while rows := browser.read_rows(first, min(_BATCH_ROWS, limit - shown) if limit is not None else _BATCH_ROWS):
        for one in rows:
            if last is not None and one.number > last:
                return
            yield one
            shown += 1
        if limit is not None and shown >= limit:
            return
        first = rows[-1].number + 1


def _index_to(browser: "Browser", number: int) -> None:
    """Index as far as a row, so that it and its neighbours are reached at once from then on."""
    from mg_tui.data.browser import IndexedBrowser

    if isinstance(browser, IndexedBrowser):
        with progress_bar("indexing") as tell:
            browser.index_up_to(number, lambda share: tell(int(share * 1000), 1000))


class _RowPrinter:
    """Prints rows: text for people, JSON for programs."""

    def __init__(self, *, as_json: bool):
        self._as_json = as_json
        self._shown = False

    def print_row(self, row: "Row", judged: "LoadedRow", seen: dict[str, Any] | None = None) -> None:
        """Print one row."""
        if self._as_json:
            click.echo(json.dumps(_row_record(row, judged, seen), ensure_ascii=False, default=_json_default))
            return
        from rich.console import Console

        console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        if self._shown:
            console.print()
        self._shown = True
        for line in _row_lines(row, judged, seen):
            console.print(line)


def _row_record(row: "Row", judged: "LoadedRow", seen: dict[str, Any] | None) -> dict[str, Any]:
    record: dict[str, Any] = {
        "row": row.number,
        "values": row.values,
        "problems": [{"field": p.field, "what": p.what, "hint": p.hint} for p in _find_problems(judged)],
    }
    return record if seen is None else {**record, "seen": seen}


def _json_default(value: object) -> Any:
    return {"bytes": len(value)} if isinstance(value, bytes) else str(value)


def _find_problems(judged: "LoadedRow") -> list[Any]:
    from mg_tui.data.checks.fields import FieldCheck

    return list(FieldCheck().check_row(judged))


def _row_lines(row: "Row", judged: "LoadedRow", seen: dict[str, Any] | None) -> Iterator[Any]:
    from rich.text import Text

    from mg_tui.core.text import printable

    yield Text(f"row {row.number:,}", style="bold")
    for problem in _find_problems(judged):
        yield Text(f"  ✗ {problem.field + ': ' if problem.field else ''}{problem.what}", style="red")
        if problem.hint:
            yield Text(f"    try: {problem.hint}", style="dim")
    if seen is not None:
        yield from format_tokens(seen)
        return
    if judged.example is None:
        raw = json.dumps(row.values, ensure_ascii=False, default=_json_default) if row.values is not None else ""
        raw = raw or (row.problem.raw if row.problem is not None else "")
        yield Text("  " + printable(raw.encode("utf-8", "replace").decode(), limit=_MAX_CHARACTERS), style="dim")
        return
    images = iter(judged.images)
    for message in judged.example.messages:
        yield Text.assemble((f"  {message.role:<9} ", "cyan"), *_format_parts(message.parts, images))


def _format_parts(parts: Any, images: Iterator[Any]) -> Iterator[Any]:
    from mg_tui.core.example import TextPart
    from mg_tui.core.text import printable
    from mg_tui.data.row_problems import safe_line

    for part in parts:
        if isinstance(part, TextPart):
            yield printable(part.text, limit=_MAX_CHARACTERS).replace("\n", "\n            ")
            continue
        given, outcome = next(images)
        info = getattr(outcome, "info", None)
        size = f" {info.width} x {info.height} {info.format}" if info is not None else ""
        yield f"[{safe_line(given, limit=80)}{size}] ", "magenta"

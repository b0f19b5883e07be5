"""`model-garden datasets show`: print rows, raw or token by token as the model sees them."""

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
)
from mg_tui.cli.datasets.tokens import format_tokens
from mg_tui.cli.progress import progress_bar, spinner
from mg_tui.cli.server import refuse_with_server, server_of
from mg_tui.cli.spec_flags import SpecCommand, explicit_values, spec_flags
from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec

if TYPE_CHECKING:
    from mg_tui.data.browser import Browser
    from mg_tui.data.row_loader import LoadedRow
    from mg_tui.data.rows import Row

_BATCH_ROWS: Final = 64
_DEFAULT_ROWS: Final = 10
_RANGE: Final = re.compile(r"(\d*):(\d*)")
_MAX_CHARACTERS: Final = 2000  # of one text


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

    --tokens applies the chat template of --base-model; supervised text is shown between ⟦ and ⟧, and images with size
    and token count.
    """
    from mg_tui.data.browser import open_browser
    from mg_tui.data.row_loader import RowLoader

    if (garden := server_of(settings)) is not None:
        from mg_tui.cli.server_datasets import show_there

        if find is not None or finding is not None:
            raise refuse_with_server("--find" if find is not None else "--finding", "rows are chosen by their numbers")
        first, last = _parse_range(span)
        given = explicit_values(values)
        show_there(
            garden,
            file,
            row,
            first,
            last,
            default=span is None,
            tokens=tokens,
            base_model=base_model,
            as_json=as_json,
            values=given,
        )
        return
    spec = dataset_spec(settings, file, base_model, values)
    if tokens and base_model is None and "base_model" not in settings.train:
        raise UsageError("--tokens requires a base model", hint="add --base-model, e.g. --base-model tiny")
    source, options = open_and_remember(settings, spec)
    if not as_json:
        print_detected_format(source, options)
    browser = open_browser(source, settings.cache)
    loader = RowLoader(source, options)
    first, last = _parse_range(span)
    if finding is not None:
        matches = find_rows_with_finding(settings, spec, source, options, finding)
        row = _select_rows(matches, row, first, last, finding)
    rows = _iterate_rows(browser, row, first, last, find, default=span is None)
    printer = _RowPrinter(as_json=as_json)
    try:
        if not tokens:
            for item in rows:
                printer.print_row(item, loader.load([item])[0])
            return
        from mg_tui.preflight.token_view import inspect_row, open_token_inspector

        with spinner(f"loading the tokenizer of {spec.base_model}") as notify:
            child = open_token_inspector(spec, notify)
        with child as inspector:
            for item in rows:
                loaded = loader.load([item])[0]
                printer.print_row(item, loaded, inspect_row(inspector, loaded))
    finally:
        loader.close()


def _select_rows(
    matches: list[int], selected: tuple[int, ...], first: int, last: int | None, kind: str
) -> tuple[int, ...]:
    """The rows with a finding of this kind that are within --row and --rows."""
    numbers = [n for n in matches if n >= first and (last is None or n <= last) and (not selected or n in selected)]
    if not numbers:
        raise UsageError(f"no row has a finding of kind {kind}", where="among the selected rows")
    return tuple(numbers)


def _parse_range(text: str | None) -> tuple[int, int | None]:
    if text is None:
        return 1, None
    if text.isdecimal():
        return int(text), int(text)
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--rows takes A:B, not {text!r}", hint="e.g. --rows 100:120")
    first, last = int(match[1] or 1), int(match[2]) if match[2] else None
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
        for number in islice(browser.find(find, first), limit):
            if last is not None and number > last:
                return
            yield browser.read_row(number)
        return
    count = 0
    while rows := browser.read_rows(first, min(_BATCH_ROWS, limit - count) if limit is not None else _BATCH_ROWS):
        for row in rows:
            if last is not None and row.number > last:
                return
            yield row
            count += 1
        if limit is not None and count >= limit:
            return
        first = rows[-1].number + 1


def _index_to(browser: "Browser", number: int) -> None:
    """Build the line index up to a row, so that reading it needs no scan from the start of the file."""
    from mg_tui.data.indexed_browser import IndexedBrowser

    if isinstance(browser, IndexedBrowser):
        with progress_bar("indexing") as progress:
            browser.index_up_to(number, lambda fraction: progress(int(fraction * 1000), 1000))


class _RowPrinter:
    """Prints rows: text for people, JSON for programs."""

    def __init__(self, *, as_json: bool):
        self._as_json = as_json
        self._printed = False

    def print_row(self, row: "Row", loaded: "LoadedRow", tokens: dict[str, Any] | None = None) -> None:
        """Print one row."""
        if self._as_json:
            from mg_tui.data.row_record import json_value, row_record

            click.echo(json.dumps(row_record(row, loaded, tokens), ensure_ascii=False, default=json_value))
            return
        from rich.console import Console

        console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        if self._printed:
            console.print()
        self._printed = True
        for line in _row_lines(row, loaded, tokens):
            console.print(line)


def _row_lines(row: "Row", loaded: "LoadedRow", tokens: dict[str, Any] | None) -> Iterator[Any]:
    from rich.text import Text

    from mg_tui.core.text import printable
    from mg_tui.data.row_record import find_row_problems, json_value

    yield Text(f"row {row.number:,}", style="bold")
    for problem in find_row_problems(loaded):
        yield Text(f"  ✗ {problem.field + ': ' if problem.field else ''}{problem.what}", style="red")
        if problem.hint:
            yield Text(f"    try: {problem.hint}", style="dim")
    if tokens is not None:
        yield from format_tokens(tokens)
        return
    if loaded.example is None:
        raw = json.dumps(row.values, ensure_ascii=False, default=json_value) if row.values is not None else ""
        raw = raw or (row.problem.raw if row.problem is not None else "")
        yield Text("  " + printable(raw.encode("utf-8", "replace").decode(), limit=_MAX_CHARACTERS), style="dim")
        return
    images = iter(loaded.images)
    for message in loaded.example.messages:
        yield Text.assemble((f"  {message.role:<9} ", "cyan"), *_format_parts(message.parts, images))


def _format_parts(parts: Any, images: Iterator[Any]) -> Iterator[Any]:
    from mg_tui.core.example import TextPart
    from mg_tui.core.text import printable
    from mg_tui.data.row_problems import safe_line

    for part in parts:
        if isinstance(part, TextPart):
            yield printable(part.text, limit=_MAX_CHARACTERS).replace("\n", "\n            ")
            continue
        path, outcome = next(images)
        info = getattr(outcome, "info", None)
        size = f" {info.width} x {info.height} {info.format}" if info is not None else ""
        yield f"[{safe_line(path, limit=80)}{size}] ", "magenta"

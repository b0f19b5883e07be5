"""What the commands about datasets share: their flags, opening, and a bar that tells how far they are."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.named_datasets import resolve_named_datasets
from mg_tui.core.options import Option
from mg_tui.core.spec import TrainingSpec

if TYPE_CHECKING:
    from mg_tui.data.image_probe import ProbeDepth
    from mg_tui.data.progress import Progress
    from mg_tui.data.row_loader import ReadOptions
    from mg_tui.data.sources.base import Source

# Options of a run's data that say nothing about how rows are read or judged.
_NON_READER_OPTIONS: Final = frozenset({"dataset", "eval_split", "on_bad_row", "workers"})
_CHECK_ONLY_OPTIONS: Final = frozenset({"max_seq_length", "eval_dataset", "eval_dataset_split"})


def is_reader_option(option: Option) -> bool:
    """Whether an option of a run decides how its rows are read, or what the model sees of them."""
    return option.group == "Data" and option.name not in _NON_READER_OPTIONS | _CHECK_ONLY_OPTIONS


def is_check_option(option: Option) -> bool:
    """Whether it decides how rows are read or judged."""
    return option.group == "Data" and option.name not in _NON_READER_OPTIONS


BASE_MODEL_OPTION = click.option(
    "--base-model", metavar="TEXT", help="Base model whose tokenizer is used: a Hub name, a local folder, or `tiny`."
)


def dataset_spec(settings: Settings, dataset: str, base_model: str | None, values: dict[str, Any]) -> TrainingSpec:
    """The spec of a run on this dataset: [train] of garden.toml under the flags.

    Raises:
        SpecError: a flag or a default has a bad value.
    """
    from mg_tui.cli.spec_flags import explicit_values, value_origins

    flags = {**values, "dataset": dataset, "base_model": base_model}
    spec = TrainingSpec.parse(
        {"base_model": "tiny", **settings.train, **explicit_values(flags)}, where=value_origins(settings, None, flags)
    )
    return resolve_named_datasets(spec, settings.datasets, settings.train)


def open_and_remember(
    settings: Settings, spec: TrainingSpec, *, depth: "ProbeDepth" = "header"
) -> "tuple[Source, ReadOptions]":
    """The spec's dataset, and how it is read; remembered as opened.

    Raises:
        DataError, EnvironmentProblem: as `mg_tui.preflight.dataset_check.open_dataset`.
    """
    from mg_tui.preflight.dataset_check import open_dataset
    from mg_tui.tui import recents

    source, reading = open_dataset(spec, settings, cwd=Path.cwd(), depth=depth)
    recents.remember(settings.home, "datasets", os.path.abspath(source.path) if source.path else spec.dataset)  # noqa: PTH100
    return source, reading


def print_detected_format(source: "Source", reading: "ReadOptions") -> None:
    """Say on standard error what a dataset was taken for."""
    from mg_tui.core.text import one_line

    click.echo(one_line(f"{source.name}: {reading.detected_format}"), err=True)
    if reading.detected_format is not None and (columns := reading.detected_format.describe_columns()):
        click.echo(one_line(f"columns: {columns}"), err=True)


def find_rows_with_finding(
    settings: Settings, spec: TrainingSpec, source: "Source", reading: "ReadOptions", kind: str
) -> list[int]:
    """Numbers of the rows in which a check finds something of this kind, ascending.

    Raises:
        UsageError: there is no such kind of finding.
    """
    from mg_tui.data.checks.kinds import KINDS
    from mg_tui.data.checks.runner import run_checks
    from mg_tui.preflight.dataset_check import open_check

    if kind not in KINDS:
        raise UsageError(f"unknown finding kind {kind!r}", hint="choose one of " + ", ".join(KINDS))
    # The base model costs a tokenizer, which only these ask.
    count = kind in ("too-long", "template", "nothing-learned", "image-shape")
    with open_check(spec, settings, source, cwd=Path.cwd(), count=count) as how, progress_bar("checking") as tell:
        report = run_checks(source, reading, how.limits, evaluation=how.evaluation, progress=tell)
    return [number for number in report.rows_by_kind.get(kind, ()) if number]


@contextmanager
def progress_bar(what: str) -> Iterator["Progress"]:
    """A callback for (done, of how many) that draws a bar with the time left on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
